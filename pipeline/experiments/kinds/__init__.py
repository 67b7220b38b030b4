"""A file an experiment: what it trains, encodes and scores, and what its numbers say."""
