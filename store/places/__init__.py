"""Where files lie: a local folder or an object store. Come here to add a kind of storage."""
