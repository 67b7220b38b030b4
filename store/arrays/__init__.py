"""Zarr v3 arrays, one shard at a time: layout, codecs, checksums, fast reading. Come here to change a shard."""
