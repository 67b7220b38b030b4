"""A small transformer over the features of frames, for videos in which the order of frames matters."""
