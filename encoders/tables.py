"""Reading tables of plain values (JSON, TOML) into frozen dataclasses, with errors that name the key."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, TypeVar, get_type_hints

from encoders.errors import SettingError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

JSON: TypeAlias = "str | int | float | bool | Sequence[JSON] | Mapping[str, JSON] | None"
"""What a JSON file can contain."""

_Table = TypeVar("_Table", bound="DataclassInstance")

_ACCEPTED: dict[object, tuple[type, ...]] = {
    int: (int,),
    float: (int, float),
    bool: (bool,),
    str: (str,),
    float | None: (int, float, type(None)),
    int | None: (int, type(None)),
    str | None: (str, type(None)),
}
"""What may be given for a field of each type. A whole number is accepted as a float. True and false are not accepted as
numbers, although Python's `bool` is an `int`."""


MAX_JSON_BYTES = 16 << 20
"""Of a file that describes a model; one of open_clip's has under a kilobyte."""


def read_json(path: Path) -> object:
    """Read a JSON file that a user names.

    Raises:
        ValueError: it is too large, or not JSON.
    """
    with path.open("rb") as file:
        content = file.read(MAX_JSON_BYTES + 1)
    if len(content) > MAX_JSON_BYTES:
        raise SettingError(f"{path} is not a description of a model: it has more than {MAX_JSON_BYTES >> 20} MiB")
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise SettingError(f"{path} is not a JSON file that describes a model: {error}") from error


def read_table(kind: type[_Table], values: object, where: str) -> _Table:
    """Make a dataclass of scalar fields from a table.

    Args:
        kind: the dataclass; its fields are of the types in `_ACCEPTED`.
        values: what the file contains at this place.
        where: the place, for messages: "[finetune] of demo.toml".

    Raises:
        ValueError: not a table, a key that is unknown or missing, or a value of the wrong type.
    """
    table = as_table(values, where)
    known = {field.name for field in fields(kind)}
    required = {field.name for field in fields(kind) if field.default is MISSING}
    check_keys(table, known, required, where)
    hints = get_type_hints(kind)
    make: Callable[..., _Table] = kind
    return make(**{key: as_scalar(value, hints[key], f"{key!r} in {where}") for key, value in table.items()})


def as_table(values: object, where: str) -> Mapping[str, object]:
    """Return `values` if it is a table with string keys; otherwise raise a `ValueError`."""
    if not isinstance(values, Mapping) or not all(isinstance(key, str) for key in values):
        raise SettingError(f"{where} must be a table of named values, got {values!r}")
    return values


def check_keys(table: Mapping[str, object], known: set[str], required: set[str], where: str) -> None:
    """Refuse unknown keys, and tables without a required key.

    Raises:
        ValueError: it names the keys.
    """
    if unknown := sorted(set(table) - known):
        raise SettingError(f"{where} has unknown keys: {', '.join(unknown)}; it may have {', '.join(sorted(known))}")
    if missing := sorted(required - set(table)):
        raise SettingError(f"{where} lacks {', '.join(missing)}")


def as_scalar(value: object, hint: object, where: str) -> object:
    """Return a value as one of the type `hint`, which is among `_ACCEPTED`.

    Raises:
        ValueError: it is of another type.
    """
    accepted = _ACCEPTED[hint]
    if not isinstance(value, accepted) or (isinstance(value, bool) and bool not in accepted):
        raise SettingError(f"{where} must be {' or '.join(_name(kind) for kind in accepted)}, got {value!r}")
    return float(value) if hint in (float, float | None) and isinstance(value, int) else value


def _name(kind: type) -> str:
    return {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}.get(kind, "nothing")
