"""Frames, times and masks as arrays of a store. Come here to change what is kept of a clip."""
