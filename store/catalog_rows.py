"""The rows of one of the two tables of a catalogue: by split, and some thousand in memory at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from store.errors import StoreFormatError
from store.formats.columns import column, integers, numbers_of
from store.formats.parquet import GROUP_ROWS, parquet_of, regrouped
from store.formats.table_file import TableFile
from store.remedies import REBUILD_CATALOG

_NEEDED = ("video_id", "caption_id", "split", "row", "path", "text")
"""Columns that have a value in every row."""
TAKEN_AT_ONCE = 8 * GROUP_ROWS
"""Rows that are put into another order at a time. Where they come from all over the file, it is read for each time."""


@dataclass(frozen=True, eq=False, slots=True)
class CatalogRows:
    """Rows of a table with the columns split and row, of which those of a split are consecutive."""

    file: TableFile
    spans: Mapping[str, range]
    """Split -> which rows of the file count, in the order of the file."""

    @classmethod
    def made_of(cls, tables: Iterable[pa.Table], schema: pa.Schema) -> Self:
        """Those of tables one after the other, which need never be in memory together.

        Raises:
            ValueError: The rows of a split are not consecutive.
        """
        spans: dict[str, range] = {}

        def seen() -> Iterator[pa.Table]:
            start = 0
            for table in regrouped(tables):
                if _add_runs(spans, table, start) is None:
                    raise ValueError("the rows of a split are not consecutive")
                yield table
                start += table.num_rows

        return cls(TableFile(parquet_of(seen(), schema), "the catalogue", schema), spans)

    @classmethod
    def checked(cls, content: bytes, path: str, schema: pa.Schema) -> Self:
        """Those of a file.

        Args:
            content: The file, whose seal has been checked.
            path: For the errors.
            schema: Exactly these columns.

        Raises:
            StoreFormatError: It is not such a file, or has rows that no writer gives it.
        """
        file, spans, start = TableFile(content, path, schema), dict[str, range](), 0
        for table in file.parts():
            # rows are positions in the arrays, and readers go by the position in the table: a writer can only give both
            is_whole = not any(table[key].null_count for key in _NEEDED if key in schema.names)
            rows = _add_runs(spans, table, start) if is_whole else None
            if rows is None or not np.array_equal(rows, numbers_of(table["row"])):
                raise StoreFormatError(
                    f"{path} has rows without an id, or in another order than it says: {REBUILD_CATALOG}"
                )
            start += table.num_rows
        return cls(file, spans)

    @property
    def num_rows(self) -> int:
        """All that count."""
        return sum(map(len, self.spans.values()))

    def count(self, split: str) -> int:
        """The rows of a split, which may have none."""
        return len(self.spans.get(split, ()))

    def first(self, counts: Mapping[str, int]) -> Self:
        """The first rows of some splits, in the order of these: each has so many."""
        spans = {split: self.spans.get(split, range(0))[:count] for split, count in counts.items()}
        # Without splits that have no rows, which a file cannot show either.
        return type(self)(self.file, {split: span for split, span in spans.items() if span})

    def of(self, split: str, start: int = 0, stop: int | None = None) -> pa.Table:
        """The rows `[start, stop)` of a split, those that there are."""
        return self.file.rows(self.spans.get(split, range(0))[start:stop])

    def parts(self, split: str | None = None, columns: tuple[str, ...] | None = None) -> Iterator[pa.Table]:
        """All rows in order, or those of a split: `GROUP_ROWS` at a time, and fewer at the end."""
        spans = self.spans.values() if split is None else (self.spans.get(split, range(0)),)
        tables = (table for span in spans for table in self.file.parts(span))
        return regrouped(tables if columns is None else (table.select(list(columns)) for table in tables))

    def table(self) -> pa.Table:
        """All rows in memory, whose splits are slices of it."""
        return pa.concat_tables([pa.Table.from_batches([], self.file.schema), *self.parts()])

    def content(self) -> bytes:
        """The file with these rows and no others: the same rows give the same bytes."""
        # Then the file has these rows and no others, and need not be written once more.
        is_all = list(self.spans.values()) == list(_end_to_end(self.spans)) and self.num_rows == self.file.num_rows
        return self.file.content if is_all else parquet_of(self.parts(), self.file.schema)

    def equals(self, other: CatalogRows) -> bool:
        """Whether both have the same rows in the same order."""
        return self.num_rows == other.num_rows and all(
            one is not None and one.equals(its) for one, its in zip_longest(self.parts(), other.parts())
        )

    def taken(self, order: Iterable[tuple[str, NDArray[np.int64]]]) -> Self:
        """Rows of this table in another order, renumbered in each split.

        Args:
            order: Which split some rows belong to now, and their positions in the file. Those of a split follow each
                other, some at a time.
        """
        return self.made_of(self._numbered(order), self.file.schema)

    def _numbered(self, order: Iterable[tuple[str, NDArray[np.int64]]]) -> Iterator[pa.Table]:
        names, counted = self.file.schema.names, dict[str, int]()
        for split, positions in order:
            table, start = self.file.take(positions), counted.get(split, 0)
            counted[split] = start + len(positions)
            new = {
                "split": column([split] * len(positions), pa.string()),
                "row": integers(np.arange(start, counted[split])),
            }
            yield pa.Table.from_arrays([new.get(name, table[name]) for name in names], schema=self.file.schema)


def _end_to_end(spans: Mapping[str, range]) -> Iterator[range]:
    """The ranges as they were if the first began with 0, and each where the last one ends."""
    start = 0
    for span in spans.values():
        yield range(start, start + len(span))
        start += len(span)


def _add_runs(spans: dict[str, range], table: pa.Table, start: int) -> NDArray[np.int64] | None:
    """Extend what is known of the splits by the next rows of a file.

    Returns:
        The row that each has in its split, by its position; None if a split comes again after another.
    """
    runs = pc.run_end_encode(table["split"].combine_chunks())
    rows: list[NDArray[np.int64]] = []
    begin = start
    for split, end in zip(runs.values.to_pylist(), (start + numbers_of(runs.run_ends)).tolist(), strict=True):
        known = spans.get(split, range(begin, begin))
        # They are equal if the split is new, or goes on from the last part. Otherwise another one was in between.
        if known.stop != begin:
            return None
        rows.append(np.arange(begin - known.start, end - known.start))
        spans[split], begin = range(known.start, end), end
    return np.concatenate(rows) if rows else np.zeros(0, np.int64)
