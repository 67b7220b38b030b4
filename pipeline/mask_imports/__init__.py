"""`fda import-masks`: masks of any origin, ground truth or another program's, as a mask set of a store."""
