"""`fda pool`: train on cached features of frames what makes videos of them, and write these as a feature set."""
