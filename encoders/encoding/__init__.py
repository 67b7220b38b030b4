"""Clips and texts to embeddings. Come here to make encoding faster."""
