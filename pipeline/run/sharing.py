"""Videos that several splits share, in words."""

from __future__ import annotations

from pipeline.run.words import listed, plural
from store.contents import SharedVideos


def sharing(shared: SharedVideos) -> str:
    """Which videos two splits share, for the beginning of a sentence.

    >>> sharing(SharedVideos(("train", "test"), (("a", "a"), ("b", "c"))))
    "splits 'train' and 'test' share 2 videos by the contents of files (a, b is c)"
    """
    one, other = shared.splits
    pairs = [a if a == b else f"{a} is {b}" for a, b in shared.pairs]
    same = plural(len(pairs), "video")
    return f"splits {one!r} and {other!r} share {same} by the contents of files ({listed(pairs)})"
