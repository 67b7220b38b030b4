"""Tables of text, separated by commas, semicolons or tabs. The first line shows which, and names the columns."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path

from pipeline.datasets.reading.files import MAX_TEXT_BYTES, read_raw_lines
from pipeline.datasets.records import DatasetError

DELIMITERS = ",;\t"


def read_table(path: Path, max_bytes: int = MAX_TEXT_BYTES) -> Iterator[tuple[int, Mapping[str, str]]]:
    """The rows of a file with a header: each with the number of the line where it begins, column -> text, stripped.

    Raises:
        DatasetError: if there is no such file, it is too large or not UTF-8, a column is named twice, a row has more or
            fewer fields than there are columns, or a quotation mark is not closed.
    """
    rows = _rows(path, max_bytes)
    _, names = next(rows, (0, []))
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise DatasetError(f"{path}:1: column {twice!r} appears twice; keep one")
    for number, row in rows:
        if len(row) != len(names):
            columns = ", ".join(map(repr, names))
            raise DatasetError(
                f"{path}:{number}: {len(row)} fields, and the columns are {columns}: {row!r:.100}. "
                "Put a text that contains the separator in quotation marks"
            )
        yield number, dict(zip(names, row, strict=True))


def delimiter_of(header: str) -> str:
    """Which of `DELIMITERS` separates the names of a header: the most frequent one, or the comma if there is none.

    >>> delimiter_of("key;vid_key;video_id;sentence"), delimiter_of("video_id")
    (';', ',')
    """
    # `max` keeps the first of equal ones, and the comma comes first.
    return max(DELIMITERS, key=header.count)


def _rows(path: Path, max_bytes: int) -> Iterator[tuple[int, list[str]]]:
    """The rows that are not blank, their fields stripped, each with the number of the line where it begins."""
    lines = (line for _, line in read_raw_lines(path, max_bytes))
    header = next(lines, "")
    # Strict: otherwise a stray quotation mark is taken as it is, and may swallow the rows that follow.
    reader = csv.reader(chain([header], lines), delimiter=delimiter_of(header), strict=True)
    while True:
        # `line_num` counts lines read so far, of which a row with line breaks in quotation marks has several.
        number = reader.line_num + 1
        try:
            row = next(reader, None)
        except csv.Error as error:  # also for a quotation mark that is never closed: the csv module bounds a field
            raise DatasetError(f"{path}:{number}: not a row of a table: {error}") from error
        if row is None:
            return
        if any(field.strip() for field in row):
            yield number, [field.strip() for field in row]
