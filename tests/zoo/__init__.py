"""Real files of every kind that a decoder can get wrong, and what is true of each.

`kinds` lists them, `making` encodes and edits them, `truth` says what a clip of each must be.
"""
