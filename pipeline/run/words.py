"""Numbers and lists in words, for messages."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from store.json_values import JSON

_DIGITS_SHOWN = 12
"""Of a sha256."""


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


def cut(text: str, length: int) -> str:
    """The beginning of a text that is longer.

    >>> cut("a long caption", 8), cut("short", 8)
    ('a long …', 'short')
    """
    return text if len(text) <= length else f"{text[: length - 1]}…"


def percent(share: float | None) -> str:
    """A share, 0..1, as people read it.

    >>> percent(0.305), percent(None)
    ('30.5%', '-')
    """
    return "-" if share is None else f"{100 * share:.1f}%"


def setting(value: JSON) -> str:
    """A setting as people write it; of a digest, as much as tells it from another.

    >>> setting("mean"), setting(None), setting(True), setting("ab" * 32)
    ('mean', '-', 'true', 'abababababab')
    """
    if value is None:
        return "-"
    if isinstance(value, str):
        return value[:_DIGITS_SHOWN] if re.fullmatch("[0-9a-f]{64}", value) else value
    return json.dumps(value, ensure_ascii=False)
