"""`fda preprocess`: videos to stored frames and masks."""
