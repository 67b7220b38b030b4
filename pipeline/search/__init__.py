"""`fda search`. Come here to change how queries become vectors, and how the best videos are found."""
