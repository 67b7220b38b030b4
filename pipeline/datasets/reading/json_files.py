"""JSON from anybody: read within limits, and taken apart with errors that name every wrong value."""

from __future__ import annotations

import json
import reprlib
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pipeline.datasets.reading.files import read_text
from pipeline.datasets.records import DatasetError

MAX_JSON_BYTES = 2**27
"""Of a file that is one JSON value, which is in memory as a whole. The largest known one (MSR-VTT) has 35 MB."""


@contextmanager
def errors_at(place: str) -> Iterator[None]:
    """Put a place before the message of a `DatasetError`."""
    try:
        yield
    except DatasetError as error:
        raise DatasetError(f"{place}: {error}") from error


def read_json(path: Path, max_bytes: int = MAX_JSON_BYTES) -> object:
    """The value in a JSON file, unpacked if its name ends with `.gz`.

    Raises:
        DatasetError: if there is no such file, it is too large, not UTF-8 or not JSON, or an object has a key twice.
    """
    text = read_text(path, max_bytes)
    with errors_at(str(path)):
        return parse_json(text)


def parse_json(text: str) -> object:
    """The value of a JSON text.

    Raises:
        DatasetError: if it is not JSON, or an object has a key twice.
    """
    try:
        value: object = _DECODER.decode(text)
    except DatasetError:
        raise
    except (ValueError, RecursionError) as error:  # nested too deep, by mistake or on purpose
        raise DatasetError(f"not JSON: {error}") from error
    return value


def _unique_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
    fields = dict(pairs)
    if len(fields) < len(pairs):  # Python would keep the last one, and lose the captions of the others
        counts = Counter(key for key, _ in pairs)
        twice = next(key for key, count in counts.items() if count > 1)
        raise DatasetError(f"key {twice!r} appears twice; keep one")
    return fields


_DECODER = json.JSONDecoder(object_pairs_hook=_unique_keys)
"""One for all lines: `json.loads` makes one for each, and takes twice the time."""


def as_object(value: object, what: str = "it") -> dict[str, object]:
    """The value, if it is a JSON object; `what` names it in the error."""
    if not isinstance(value, dict):
        raise DatasetError(f"{what} must be a JSON object, got {type(value).__name__} {reprlib.repr(value)}")
    return value


def as_list(value: object, what: str = "it") -> list[object]:
    """The value, if it is a JSON list."""
    if not isinstance(value, list):
        raise DatasetError(f"{what} must be a list, got {type(value).__name__} {reprlib.repr(value)}")
    return value


def as_texts(value: object, what: str = "it") -> tuple[str, ...]:
    """The value, if it is a list of strings."""
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise DatasetError(f"{what} must be a list of strings, got {reprlib.repr(value)}")
    return tuple(value)


def field_of(fields: Mapping[str, object], key: str) -> object:
    """The value of a required key."""
    if key not in fields:
        raise DatasetError(f"no {key!r}; the keys are {', '.join(map(repr, fields)) or 'none'}")
    return fields[key]


def text_of(fields: Mapping[str, object], key: str) -> str:
    """The string of a required key."""
    value = field_of(fields, key)
    if not isinstance(value, str):
        raise DatasetError(f"{key!r} must be a string, got {type(value).__name__} {reprlib.repr(value)}")
    return value
