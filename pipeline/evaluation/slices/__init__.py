"""Slices: parts of the queries, scored by themselves. Come here to add a family of slices."""
