"""`fda verify`: every file against its checksum. Come here to detect another kind of damage."""
