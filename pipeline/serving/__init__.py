"""`fda serve`. Come here to change the pages in a browser, and what a browser may read."""
