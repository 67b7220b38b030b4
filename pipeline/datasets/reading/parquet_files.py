"""The Parquet files that video2dataset writes beside its tars, read within limits."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.datasets.reading.files import in_one_line
from pipeline.datasets.records import DatasetError

MAX_PARQUET_BYTES = 2**30
MAX_CAPTION_BYTES = 2**28
"""Of a file."""
_CAPTION_COLUMN = re.compile(r"caption(_\d+)?")
_ROWS_AT_ONCE = 64


def read_captions(path: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Key and captions of each row. Null and blank captions are skipped."""
    num_bytes = path.stat().st_size
    if num_bytes > MAX_PARQUET_BYTES:
        raise DatasetError(
            f"{path} has {num_bytes} bytes, more than the limit of {MAX_PARQUET_BYTES}; is it the right file?"
        )
    try:
        with pq.ParquetFile(path) as file:
            # By the types of Parquet, which has one for text. Arrow has several, and a writer notes which it had:
            # pandas 3 and polars `large_string`, others `string_view` or dictionaries.
            columns_there = [file.schema.column(number) for number in range(len(file.schema))]
            texts = [one.path for one in columns_there if one.logical_type.type == "STRING"]
        columns = [name for name in texts if _CAPTION_COLUMN.fullmatch(name)]
        if texts.count("key") != 1 or not columns or len(set(columns)) < len(columns):
            raise DatasetError(
                f"{path}: needs texts 'key', and 'caption' or 'caption_0', each once; it has {', '.join(texts)}"
            )
        left = MAX_CAPTION_BYTES
        # As dictionaries, so that a text that a file repeats takes memory once, and can be counted before it is copied.
        with pq.ParquetFile(path, read_dictionary=["key", *columns], pre_buffer=False) as file:
            # Few rows, as one caption may have megabytes.
            for batch in file.iter_batches(_ROWS_AT_ONCE, columns=["key", *columns]):
                # As they will be as Python texts, each repetition a copy: before `to_pylist` makes them.
                left -= sum(_num_bytes(column) for column in batch.columns)
                if left < 0:
                    raise DatasetError(f"{path} contains more than {MAX_CAPTION_BYTES} bytes of captions")
                for row in batch.to_pylist():
                    if not row["key"]:
                        raise DatasetError(f"{path}: a row has no key: {row!r:.100}")
                    found = (in_one_line(row[name] or "") for name in sorted(columns, key=_number))
                    yield row["key"], tuple(caption for caption in found if caption)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path} is not a Parquet file that can be read: {error}") from error


def _number(column: str) -> int:
    """The number of a column of captions: `caption_10` comes after `caption_9`."""
    return int(column.rpartition("_")[2]) if "_" in column else -1


def _num_bytes(column: pa.DictionaryArray) -> int:
    """Bytes of the texts of a column, with repetitions, which take next to nothing in the file."""
    lengths = pc.take(pc.cast(pc.binary_length(column.dictionary), pa.int64()), column.indices)
    num_bytes: int | None = pc.sum(lengths).as_py()
    return num_bytes or 0
