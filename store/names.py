"""Names that become folders of a store."""

from __future__ import annotations

import re

from store.errors import StoreNameError

NAME = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}"
"""The regular expression of a name."""


def check_name(kind: str, name: object) -> str:
    """Return a split's, mask set's or feature set's name, or refuse one that could not be a folder everywhere.

    >>> check_name("split", "train")
    'train'
    """
    if not isinstance(name, str) or not re.fullmatch(NAME, name) or name == "zarr.json":
        raise StoreNameError(
            f"{kind} name {name!r}: use up to 100 letters, digits, '_', '.' and '-', and begin with none of '.' and '-'"
        )
    return name
