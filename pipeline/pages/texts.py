"""Texts of anybody, for people to read."""

from __future__ import annotations

import re

_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
"""Halves of characters, too: names of files that are no UTF-8 have some, and a page cannot be written with them."""
_DELETE, _FIRST_PICTURE = 0x7F, 0x2400


def visible(text: str) -> str:
    r"""The text with control characters as their pictures: pages must not have them, and would not show them.

    >>> visible("a\x1b[2J b\x00\x9b")
    'a␛[2J b␀�'
    """
    return _CONTROLS.sub(_picture, text)


def _picture(found: re.Match[str]) -> str:
    number = ord(found[0])
    if number > _DELETE:
        return "\N{REPLACEMENT CHARACTER}"
    return "\N{SYMBOL FOR DELETE}" if number == _DELETE else chr(_FIRST_PICTURE + number)
