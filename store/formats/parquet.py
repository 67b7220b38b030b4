"""Sealed Parquet files: how all are written, and how small ones are read. `store.formats.table_file` reads large ones.

Their declared size is checked before any memory is allocated for it.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from store.errors import StoreFormatError
from store.formats.seal import BLANK, SEAL_KEY, sealed

FREE_ROWS, ROWS_A_BYTE = 2**20, 10
FREE_BYTES, BYTES_A_BYTE = 2**26, 1000
"""Rows and uncompressed bytes that any file may have, and how many more for each of its bytes. For comparison: a
catalogue of a million videos with numbers as ids, and the same caption for all, has 0.4 rows and 19 bytes a byte."""


GROUP_ROWS = 1 << 16
"""Rows of a large table that are written as one group, and read at a time. Reading takes three times its memory."""


def parquet_bytes(table: pa.Table, metadata: Mapping[str, str] | None = None, *, is_small: bool = False) -> bytes:
    """A table as the bytes of a Parquet file, sealed: equal tables give equal bytes.

    Args:
        table: What to write.
        metadata: Key-value metadata of the file.
        is_small: Whether to leave out dictionaries, statistics and compression, which cost more than they save in a
            table of few rows: a record of 16 videos is written three times, and read twice, as fast without.
    """
    return parquet_of([table], table.schema, metadata, is_small=is_small)


def parquet_of(
    tables: Iterable[pa.Table], schema: pa.Schema, metadata: Mapping[str, str] | None = None, *, is_small: bool = False
) -> bytes:
    """`parquet_bytes` of tables one after the other, of which only one is in memory at a time.

    All but the last have `GROUP_ROWS` rows or a multiple of it: see `regrouped`.
    """
    options = {"compression": "none", "use_dictionary": False, "write_statistics": False} if is_small else {}
    sink, is_empty = io.BytesIO(), True
    with pq.ParquetWriter(sink, schema, **{"compression": "zstd", "store_schema": False, **options}) as writer:
        for table in tables:
            writer.write_table(table, row_group_size=GROUP_ROWS)
            is_empty = False
        if is_empty:
            # One row group without rows, as an empty table has if it is written in one go.
            writer.write_table(pa.Table.from_batches([], schema))
        # The seal last, behind all that comes from a data set: `is_sealed` tries the last places.
        writer.add_key_value_metadata({**(metadata or {}), SEAL_KEY: BLANK})
    return sealed(sink.getvalue())


def regrouped(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The rows of tables of one schema in tables of `GROUP_ROWS` rows, each in one piece; the last has fewer.

    >>> schema = pa.schema([("row", pa.int64())])
    >>> parts = (pa.table({"row": [*range(number)]}, schema) for number in (3, GROUP_ROWS, 0))
    >>> [part.num_rows for part in regrouped(parts)]
    [65536, 3]
    """
    waiting: list[pa.Table] = []
    num_waiting = 0
    for table in tables:
        waiting.append(table)
        num_waiting += table.num_rows
        while num_waiting >= GROUP_ROWS:
            whole = pa.concat_tables(waiting)
            yield whole.slice(0, GROUP_ROWS).combine_chunks()
            waiting, num_waiting = [whole.slice(GROUP_ROWS)], num_waiting - GROUP_ROWS
    if num_waiting:
        yield pa.concat_tables(waiting).combine_chunks()


def read_small_table(
    content: bytes,
    name: str,
    schema: pa.Schema,
    columns: Sequence[str] | None = None,
    *,
    optional: Sequence[str] = (),
) -> pa.Table:
    """Read what `parquet_bytes` wrote with `is_small`, four times as fast as `read_table` would.

    As nothing is compressed or repeated, it needs no more memory than the file has bytes. A file that declares more is
    refused.

    Args:
        content: The file, whose seal has been checked: a damaged footer may crash Arrow, and the process with it.
        name: For the errors.
        schema: Exactly these columns.
        columns: Which of them to read, in the order of the schema; all, if None.
        optional: The last columns of the schema, which the file may lack, all of them; the table then lacks them, too.

    Returns:
        The table. Its schema carries the key-value metadata of the file.

    Raises:
        StoreFormatError: It is not such a file.
    """
    try:
        # `pre_buffer` fetches pages ahead in other threads, for slow file systems. This file is in memory.
        file = pq.ParquetFile(pa.BufferReader(content), pre_buffer=False)
        about = file.metadata
        if optional and about.num_columns == len(schema) - len(optional):
            schema = pa.schema(list(schema)[: about.num_columns])
        groups = [about.row_group(index) for index in range(about.num_row_groups)]
        check_at_most(about.num_rows, len(content), "rows", name)
        check_at_most(sum(group.total_byte_size for group in groups), len(content), "bytes uncompressed", name)
        for number, kind in enumerate(schema.types):  # much faster than over its fields
            # With a dictionary, a few bytes could stand for a long text many times, and the sizes above would not limit
            # memory.
            if pa.types.is_string(kind) and any(group.column(number).has_dictionary_page for group in groups):
                raise StoreFormatError(
                    f"{name} has a dictionary for {schema.names[number]!r}, and no such file has one"
                )
        table = file.read(columns, use_threads=False)
    # An IndexError is that of `group.column` where the file has fewer columns than the schema.
    except (pa.ArrowException, OSError, UnicodeDecodeError, IndexError) as error:
        raise StoreFormatError(f"{name} is not a readable Parquet file: {error}") from error
    found, fields = table.schema, zip(schema.names, schema.types, strict=True)
    wanted = [field for field in fields if columns is None or field[0] in columns]
    if list(zip(found.names, found.types, strict=True)) != wanted:
        raise StoreFormatError(f"{name} has other columns than it should: {', '.join(found.names):.500}")
    return table.replace_schema_metadata(about.metadata)


def read_metadata(content: bytes, name: str) -> Mapping[bytes, bytes]:
    """Read the key-value metadata of a Parquet file, and none of its columns.

    Raises:
        StoreFormatError: It is not a Parquet file.
    """
    try:
        return pq.ParquetFile(pa.BufferReader(content)).metadata.metadata or {}
    except (pa.ArrowException, OSError) as error:
        raise StoreFormatError(f"{name} is not a readable Parquet file: {error}") from error


def max_rows(num_bytes: int) -> int:
    """Rows that a file of so many bytes may have."""
    return FREE_ROWS + ROWS_A_BYTE * num_bytes


def check_at_most(number: int, limit: int, what: str, name: str) -> None:
    """Refuse a file that declares a number of something below 0 or above its limit.

    Raises:
        StoreFormatError: It is so.
    """
    if not 0 <= number <= limit:
        raise StoreFormatError(f"{name} declares {number:,} {what}, and may have {limit:,}")
