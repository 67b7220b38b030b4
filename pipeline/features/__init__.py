"""`fda encode`: clips and captions to cached embeddings."""
