"""`fda inspect`. Come here to change which videos can be chosen, and how one is shown."""
