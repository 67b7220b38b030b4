"""Retrieval numbers from cached features: scores, ranks, metrics by protocol, and what they are worth."""
