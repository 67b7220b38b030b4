"""Data sets as people have them on disk. One file a layout in `layouts`; `read.LAYOUTS` is the table of them."""
