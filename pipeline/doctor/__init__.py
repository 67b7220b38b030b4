"""`fda doctor`. Come here to change what is checked on a machine, and the remedies."""
