"""`fda report`: one page about a store. Come here to change what the page says."""
