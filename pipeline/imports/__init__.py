"""Embeddings that other programs have made, taken into a store."""
