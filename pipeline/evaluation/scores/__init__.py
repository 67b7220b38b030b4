"""Similarity scores of texts and videos, in blocks. Come here to add a way to score."""
