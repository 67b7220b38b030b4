"""Sealed Parquet files of millions of rows, of which some thousand are in memory at a time."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import accumulate
from threading import Lock

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from store.errors import StoreFormatError
from store.formats.columns import integers
from store.formats.parquet import BYTES_A_BYTE, FREE_BYTES, GROUP_ROWS, check_at_most, max_rows

_MOST_RECENT = 16
"""Row groups that are kept as tables: a million rows, and 100 MiB of a catalogue's videos."""


class TableFile:
    """The bytes of a Parquet file, of which a row group at a time becomes a table. Threads may share it.

    A catalogue of ten million videos and captions is 0.15 to 0.8 GiB as files, and 2 GiB as tables.

    Rows and uncompressed bytes are checked by the footer before anything is read. Texts are read as dictionaries, in
    which a repeated text takes almost no memory, and their total size is checked before they are expanded, some rows at
    a time: dictionaries of all rows would take three times the memory of the table. If pages contradict the footer,
    Arrow may still allocate 2 GiB for a page, the maximum of the format, before it is refused.
    """

    def __init__(self, content: bytes, name: str, schema: pa.Schema) -> None:
        """Check the footer.

        Args:
            content: The file.
            name: For the errors.
            schema: Exactly these columns, of integers, floats, booleans and strings.

        Raises:
            StoreFormatError: It is not a Parquet file, is damaged, has other columns or declares too much. So do all
                other methods.
        """
        self.content, self.schema = content, schema
        self._name = name
        self._texts = [field.name for field in schema if pa.types.is_string(field.type)]
        self._text_bytes: dict[int, int] = {}
        """Row group -> bytes of its texts, of those that were read."""
        # Of all row groups, because `table` keeps all of them at once.
        self._all_text_bytes = 0
        self._recent: OrderedDict[int, pa.Table] = OrderedDict()
        # The first is for the file of Arrow and the counts of bytes, the second for the tables that are kept. `_kept`
        # takes the first while it holds the second; nothing takes them the other way round.
        self._lock, self._lock_of_recent = Lock(), Lock()
        with self._reading():
            # `pre_buffer` fetches pages ahead in other threads, for slow file systems. These bytes are in memory.
            self._file = pq.ParquetFile(pa.BufferReader(content), read_dictionary=self._texts, pre_buffer=False)
            _check_footer(self._file, name, schema, len(content))
        about = self._file.metadata
        self.metadata = about.metadata
        """Key-value metadata of the file."""
        counts = (about.row_group(number).num_rows for number in range(about.num_row_groups))
        self._starts = list(accumulate(counts, initial=0))
        """First row of each row group, and at last the number of rows."""

    def __reduce__(self) -> tuple[type[TableFile], tuple[bytes, str, pa.Schema]]:
        # Neither locks nor Arrow's file can be pickled: a worker parses the footer again.
        return TableFile, (self.content, self._name, self.schema)

    @property
    def num_rows(self) -> int:
        """All its rows."""
        num_rows: int = self._starts[-1]
        return num_rows

    def parts(self, rows: range | None = None) -> Iterator[pa.Table]:
        """Some consecutive rows, or all: a table for each row group that has any of them."""
        wanted = range(self.num_rows) if rows is None else rows
        for number in self._groups_of(wanted):
            yield self._cut(self._read(number), number, wanted)

    def rows(self, rows: range) -> pa.Table:
        """A few consecutive rows, which are likely followed by others near them: row groups read last are kept."""
        parts = [self._cut(self._kept(number), number, rows) for number in self._groups_of(rows)]
        # Arrow cannot join no tables at all.
        return parts[0] if len(parts) == 1 else pa.concat_tables(parts or [pa.Table.from_batches([], self.schema)])

    def take(self, rows: NDArray[np.int64]) -> pa.Table:
        """Rows in any order, shape (num_rows,); each row group is read once."""
        # The row group of each row. `right`, so that a row is not found in an empty group that begins where its own
        # does.
        numbers = np.searchsorted(self._starts, rows, side="right") - 1
        # Rows by row group, and in each in the order given; `np.unique` gives the groups in the same order.
        order = np.argsort(numbers, kind="stable")
        parts, start = [pa.Table.from_batches([], self.schema)], 0
        for number, count in zip(*np.unique(numbers, return_counts=True), strict=True):
            places = rows[order[start : start + count]] - self._starts[number]
            parts.append(self._read(number).take(integers(places)))
            start += count
        found = pa.concat_tables(parts).combine_chunks()
        # `found` has the rows in `order`. To take them by its inverse brings back the order that was asked for.
        is_in_order = bool((order[1:] > order[:-1]).all())
        return found if is_in_order else found.take(integers(np.argsort(order)))

    def table(self) -> pa.Table:
        """All rows. Its schema carries the key-value metadata of the file."""
        parts = [pa.Table.from_batches([], self.schema), *self.parts()]
        return pa.concat_tables(parts).replace_schema_metadata(self.metadata)

    def _groups_of(self, rows: range) -> range:
        """The row groups that some consecutive rows are in."""
        if not rows:
            return range(0)
        # From the group that has the first row to the one before that which begins at `stop` or later.
        return range(bisect_right(self._starts, rows.start) - 1, bisect_left(self._starts, rows.stop))

    def _cut(self, table: pa.Table, number: int, rows: range) -> pa.Table:
        """Those of some rows that are in a row group."""
        start = max(0, rows.start - self._starts[number])
        # Arrow cuts a length that goes beyond the end of the table.
        return table.slice(start, rows.stop - self._starts[number] - start)

    def _kept(self, number: int) -> pa.Table:
        with self._lock_of_recent:
            # Read under the lock: of two threads that want one row group, the second waits for the table of the first.
            if number not in self._recent:
                self._recent[number] = self._read(number)
                if len(self._recent) > _MOST_RECENT:
                    self._recent.popitem(last=False)
            self._recent.move_to_end(number)
            return self._recent[number]

    def _read(self, number: int) -> pa.Table:
        """One row group."""
        parts, most = [pa.Table.from_batches([], self.schema)], FREE_BYTES + BYTES_A_BYTE * len(self.content)
        with self._lock, self._reading():
            # A group that is read again counts once.
            self._all_text_bytes -= self._text_bytes.pop(number, 0)
            # A group from anybody may have more rows than ours have. Each batch is counted as dictionaries, and only
            # then expanded by the cast.
            for batch in self._file.iter_batches(GROUP_ROWS, row_groups=[number], use_threads=False):
                num_bytes = sum(_laid_out_bytes(batch[text]) for text in self._texts)
                self._text_bytes[number] = self._text_bytes.get(number, 0) + num_bytes
                self._all_text_bytes += num_bytes
                check_at_most(self._all_text_bytes, most, "bytes of text", self._name)
                parts.append(pa.Table.from_batches([batch]).cast(self.schema))
        return pa.concat_tables(parts).combine_chunks()

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except KeyError as error:
            raise StoreFormatError(f"{self._name} has other columns than it should: no {error}") from error
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise StoreFormatError(f"{self._name} is not a readable Parquet file: {error}") from error


def read_table(content: bytes, name: str, schema: pa.Schema) -> pa.Table:
    """All rows of a `TableFile`; arguments and errors are the same.

    >>> ids = pa.schema([("video_id", pa.string())])
    >>> from store.formats.parquet import parquet_bytes
    >>> read_table(parquet_bytes(pa.table({"video_id": ["a", "b"]})), "videos.parquet", ids).num_rows
    2
    """
    return TableFile(content, name, schema).table()


def _check_footer(file: pq.ParquetFile, name: str, schema: pa.Schema, num_bytes: int) -> None:
    fields = [(field.name, _stored_type(field)) for field in file.schema_arrow]
    if fields != [(field.name, field.type) for field in schema]:
        found = ", ".join(f"{column} ({kind})" for column, kind in fields)
        raise StoreFormatError(f"{name} has other columns than it should: {found:.500}")
    groups = [file.metadata.row_group(index) for index in range(file.metadata.num_row_groups)]
    most = max_rows(num_bytes)
    check_at_most(file.metadata.num_rows, most, "rows", name)
    rows = [group.num_rows for group in groups]
    # Numbers in a footer are signed. A group has at least one row, but for that of an empty table: more groups than
    # rows can only be there to fill memory.
    if min(rows, default=0) < 0 or len(rows) > most + 1 or sum(rows) != file.metadata.num_rows:
        raise StoreFormatError(f"{name} contradicts itself: its row groups do not add up to {file.metadata.num_rows}")
    sizes = [group.total_byte_size for group in groups]
    # A negative size as it is, so that it is refused: in a sum it would make room for others.
    num_uncompressed = min([0, *sizes]) or sum(sizes)
    check_at_most(num_uncompressed, FREE_BYTES + BYTES_A_BYTE * num_bytes, "bytes uncompressed", name)


def _stored_type(field: pa.Field) -> pa.DataType:
    """The type of a column, whether it is read as a dictionary or not."""
    return field.type.value_type if pa.types.is_dictionary(field.type) else field.type


def _laid_out_bytes(chunk: pa.DictionaryArray) -> int:
    """Bytes of the texts of a chunk, each counted as often as it occurs."""
    lengths = pc.cast(pc.binary_length(chunk.dictionary), pa.int64())
    num_bytes: int | None = pc.sum(pc.take(lengths, chunk.indices)).as_py()
    return num_bytes or 0
