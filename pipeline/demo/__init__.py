"""`fda demo`: a small data set in which motion carries the meaning, and everything run on it."""
