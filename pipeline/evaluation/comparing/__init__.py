"""`fda compare`: feature sets side by side."""
