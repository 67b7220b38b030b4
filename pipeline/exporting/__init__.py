"""A store in the layouts of other programs. To add one: a file in `formats/`, and a line in its table."""
