"""JSON values: the differences between two of them, and what is at a key."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

JSON = None | bool | int | float | str | Sequence["JSON"] | Mapping[str, "JSON"]


_MAX_SHOWN = 120
"""Characters of a value in a message: a sha256, a command or the name of a file must be there whole."""


def differences(
    found: Mapping[str, JSON], wanted: Mapping[str, JSON], prefix: str = "", *, where: str = "in the store"
) -> str:
    """Describe in one line where two JSON objects differ, with both values; `where` is the place of the first.

    >>> differences({"masks": {"threshold": 25}}, {"masks": {"threshold": 50}})
    'masks.threshold is 25 in the store and 50 now'
    >>> differences({"digests": "A" * 1000}, {"digests": None})
    'digests is "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA... in the store and not set now'
    """
    parts = []
    for key in sorted({*found, *wanted}):
        mine, theirs = found.get(key), wanted.get(key)
        if isinstance(mine, Mapping) and isinstance(theirs, Mapping):
            inner = differences(mine, theirs, f"{prefix}{key}.", where=where)
            parts += [inner] if inner else []
        elif mine != theirs:
            parts.append(f"{prefix}{key} is {_shown(mine)} {where} and {_shown(theirs)} now")
    return "; ".join(parts)


def _shown(value: JSON) -> str:
    """As JSON, the beginning of it if it is too long to be read in a message; a key that is not there is not set."""
    if value is None:
        return "not set"
    text = json.dumps(value)
    return text if len(text) <= _MAX_SHOWN else f"{text[: _MAX_SHOWN // 2 + 1]}..."


def flattened(value: Mapping[str, JSON], prefix: str = "") -> dict[str, JSON]:
    """A JSON object as one level of keys, with dots in between.

    >>> flattened({"masks": {"threshold": 25, "options": {}}, "seed": 0})
    {'masks.threshold': 25, 'seed': 0}
    """
    flat: dict[str, JSON] = {}
    for key, one in value.items():
        if isinstance(one, Mapping):
            flat.update(flattened(one, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = one
    return flat


def mapping_at(fields: Mapping[str, JSON], *keys: str) -> Mapping[str, JSON]:
    """What is at a path of keys; nothing, if that is something else: a record may be of another version.

    >>> mapping_at({"a": {"b": {"c": 1}}}, "a", "b"), mapping_at({"a": 7}, "a", "b")
    ({'c': 1}, {})
    """
    found: JSON = fields
    for key in keys:
        found = found.get(key) if isinstance(found, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def list_at(fields: Mapping[str, JSON], key: str) -> Sequence[JSON]:
    """The list at a key; empty, if there is something else."""
    found = fields.get(key)
    return found if isinstance(found, list | tuple) else ()


def text_at(fields: Mapping[str, JSON], key: str) -> str | None:
    """The text at a key; None, if there is something else."""
    found = fields.get(key)
    return found if isinstance(found, str) else None


def int_at(fields: Mapping[str, JSON], key: str) -> int | None:
    """The whole number at a key; None, if there is something else."""
    found = fields.get(key)
    return found if type(found) is int else None
