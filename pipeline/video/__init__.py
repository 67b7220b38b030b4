"""One video in, one clip out: opening, planning, decoding and resizing."""
