"""Reading Parquet that anyone may have written: what it says of itself is checked before memory is taken for it."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from store.errors import StoreFormatError


def read_table(content: bytes, name: str, schema: pa.Schema, max_rows: int, max_bytes: int) -> pa.Table:
    """Read the bytes of a Parquet file into memory, if they are what is expected and not larger.

    Rows and uncompressed bytes are counted by the footer before anything is read; texts are read as dictionaries,
    which repeat them for next to nothing, and counted before they are laid out. A file whose pages contradict its
    footer can still have Arrow take 2 GiB for a page, the most that the format allows, before it is refused or read.

    Args:
        content: The file.
        name: For the errors.
        schema: Exactly these columns, of integers, floats, booleans and texts.
        max_rows: How many rows it may have.
        max_bytes: How many bytes it may have uncompressed, and the texts of a column together.

    Returns:
        The table. Its schema carries the key-value metadata of the file.

    Raises:
        StoreFormatError: It is no Parquet file, is damaged, has other columns or is larger.

    >>> ids = pa.schema([("video_id", pa.string())])
    >>> sink = pa.BufferOutputStream()
    >>> pq.write_table(pa.table({"video_id": ["a", "b"]}), sink)
    >>> read_table(sink.getvalue().to_pybytes(), "videos.parquet", ids, 2, 1000).num_rows
    2
    """
    texts = [field.name for field in schema if pa.types.is_string(field.type)]
    try:
        with pq.ParquetFile(pa.BufferReader(content), read_dictionary=texts, pre_buffer=False) as file:
            _check_footer(file, name, schema, max_rows, max_bytes)
            table = file.read(use_threads=False)
        for text in texts:
            num_bytes = sum(map(_laid_out_bytes, table[text].chunks))
            _check_at_most(num_bytes, max_bytes, f"bytes of {text!r}", name)
        return table.cast(schema).replace_schema_metadata(file.metadata.metadata)
    except KeyError as error:
        raise StoreFormatError(f"{name} has other columns than it should: no {error}") from error
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise StoreFormatError(f"{name} is no Parquet file that can be read: {error}") from error


def _check_footer(file: pq.ParquetFile, name: str, schema: pa.Schema, max_rows: int, max_bytes: int) -> None:
    fields = [(one.name, _stored_type(one)) for one in file.schema_arrow]
    if fields != [(one.name, one.type) for one in schema]:
        found = ", ".join(f"{column} ({kind})" for column, kind in fields)
        raise StoreFormatError(f"{name} has other columns than it should: {found:.500}")
    groups = [file.metadata.row_group(index) for index in range(file.metadata.num_row_groups)]
    _check_at_most(file.metadata.num_rows, max_rows, "rows", name)
    rows = [group.num_rows for group in groups]
    if min(rows, default=0) < 0 or len(rows) > max_rows + 1 or sum(rows) != file.metadata.num_rows:
        raise StoreFormatError(f"{name} contradicts itself: its row groups do not add up to {file.metadata.num_rows}")
    _check_at_most(sum(group.total_byte_size for group in groups), max_bytes, "bytes uncompressed", name)
    for index in range(len(groups)):
        # Damage that Arrow finds here is an error; found by `column` below, it would end the process.
        next(file.iter_batches(1, [index], use_threads=False), None)
    columns = [group.column(index) for group in groups for index in range(group.num_columns)]
    if any(column.total_uncompressed_size < 0 for column in columns):
        raise StoreFormatError(f"{name} declares a column of fewer than 0 bytes")
    _check_at_most(sum(column.total_uncompressed_size for column in columns), max_bytes, "bytes uncompressed", name)


def _stored_type(field: pa.Field) -> pa.DataType:
    """The type of a column, whether it is read as a dictionary or not."""
    return field.type.value_type if pa.types.is_dictionary(field.type) else field.type


def _laid_out_bytes(chunk: pa.DictionaryArray) -> int:
    """Bytes of the texts of a chunk, each counted as often as it stands there."""
    lengths = pc.cast(pc.binary_length(chunk.dictionary), pa.int64())
    num_bytes: int | None = pc.sum(pc.take(lengths, chunk.indices)).as_py()
    return num_bytes or 0


def _check_at_most(number: int, limit: int, what: str, name: str) -> None:
    if not 0 <= number <= limit:
        raise StoreFormatError(f"{name} declares {number:,} {what}, and may have {limit:,}")
