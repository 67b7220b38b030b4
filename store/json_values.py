"""JSON values, and the differences between two of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

JSON = None | bool | int | float | str | Sequence["JSON"] | Mapping[str, "JSON"]


def differences(
    found: Mapping[str, JSON], wanted: Mapping[str, JSON], prefix: str = "", *, where: str = "in the store"
) -> str:
    """Describe in one line where two JSON objects differ, with both values; `where` is the place of the first.

    >>> differences({"masks": {"threshold": 25}}, {"masks": {"threshold": 50}})
    'masks.threshold is 25 in the store and 50 now'
    """
    parts = []
    for key in sorted({*found, *wanted}):
        mine, theirs = found.get(key), wanted.get(key)
        if isinstance(mine, Mapping) and isinstance(theirs, Mapping):
            inner = differences(mine, theirs, f"{prefix}{key}.", where=where)
            parts += [inner] if inner else []
        elif mine != theirs:
            parts.append(f"{prefix}{key} is {json.dumps(mine)} {where} and {json.dumps(theirs)} now")
    return "; ".join(parts)
