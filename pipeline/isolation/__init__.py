"""Decoding in a process of its own, so that a video that hangs or crashes the decoder takes only itself down."""
