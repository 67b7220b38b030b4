"""`fda doctor`. Come here to change what is looked at on a machine, and what is said to do about it."""
