"""From videos and captions to shards, and from cached features to retrieval numbers."""
