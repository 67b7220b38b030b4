"""What is on disk: schema, catalogue, writing and committing shards, reading."""
