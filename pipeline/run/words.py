"""Numbers and lists in words, for messages."""

from __future__ import annotations

from collections.abc import Sequence


def plural(number: int, noun: str) -> str:
    """Count something in words.

    >>> plural(1, "video"), plural(1200, "video"), plural(2, "query")
    ('1 video', '1,200 videos', '2 queries')
    """
    several = f"{noun[:-1]}ies" if noun.endswith("ry") else f"{noun}s"
    return f"{number:,} {noun if number == 1 else several}"


def listed(names: Sequence[str]) -> str:
    """The first names, and how many more there are.

    >>> listed(["a", "b", "c", "d", "e", "f"]), listed([])
    ('a, b, c, d and 2 more', 'none')
    """
    more = f" and {len(names) - 4:,} more" if len(names) > 4 else ""
    return ", ".join(names[:4]) + more if names else "none"
