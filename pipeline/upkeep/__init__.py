"""`fda status`, `finalise`, `remove`: looking after a store."""
