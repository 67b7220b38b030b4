"""Fields of options as their users write them: `"clip"` for an enumeration, a text for a path, 25 for 25.0."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from fractions import Fraction
from operator import index
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from pipeline.errors import OptionError


def limits(value: Any) -> tuple[float, float]:
    """The lowest and the highest value of a range, as numbers.

    Raises:
        TypeError: They are no two numbers.
        ValueError: They are no two numbers.
    """
    if isinstance(value, str):  # which would become its letters
        raise TypeError
    low, high = value
    return float(low), float(high)


def local_path(place: str | PathLike[str]) -> Path:
    """A path on this machine: of what is not a store, to read or to write.

    Raises:
        OptionError: It is empty, which would be the working folder; or an address such as `s3://bucket/folder`, which
            would become a folder of that name.
    """
    path = Path(place)
    if not fspath(place):
        raise OptionError("it is empty: give a place")
    if path.parts and path.parts[0].endswith(":"):
        raise OptionError(f"{fspath(place)}: give a local folder: only a STORE can be at s3://")
    return path


_WORDS: dict[object, str] = {
    float: "a number",
    Fraction: "a number",
    index: "a whole number",
    local_path: "a path",
    limits: "two numbers, the lower one first",
    tuple: "several names",
}


def check_yes(*, overwrite: bool, yes: bool) -> None:
    """Refuse a `yes` that confirms nothing."""
    if yes and not overwrite:
        raise OptionError("--yes is for --overwrite")


def convert_fields(options: object, **kinds: Callable[[Any], object]) -> None:
    """Convert fields of a frozen dataclass, in its `__post_init__`; None stays None.

    Without this, a text that equals a member of an enumeration would be compared by identity, and match none in
    silence.

    Args:
        options: The dataclass.
        kinds: Name of a field -> what makes a value of it: an enumeration, `local_path`, `float`, `tuple`.

    Raises:
        OptionError: A value cannot be converted; the message names the field and what it may be.
    """
    for name, kind in kinds.items():
        value = getattr(options, name)
        if value is None:
            continue
        if kind is tuple and isinstance(value, str):  # which would become a tuple of letters
            raise OptionError(f"{name} must be several names in a tuple or list, got the text {value!r}")
        try:
            object.__setattr__(options, name, kind(value))
        except OptionError as error:  # which says what is wanted
            raise OptionError(f"{name}: {error}") from error
        except (TypeError, ValueError) as error:
            raise OptionError(f"{name} must be {_wanted(kind)}, got {value!r}") from error


def _wanted(kind: Callable[[Any], object]) -> str:
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return f"one of {', '.join(kind)}"
    return _WORDS.get(kind, "of another type")


def check_kinds(**given: tuple[object, type]) -> None:
    """Refuse arguments of a wrong type by their name.

    Args:
        **given: Name of an argument -> its value and the class that it must be of.

    Raises:
        OptionError: One is of another.
    """
    for name, (value, kind) in given.items():
        if not isinstance(value, kind):
            raise OptionError(f"{name} must be of the class {kind.__name__}, got {value!r:.200}")
