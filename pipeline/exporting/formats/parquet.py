"""Two tables, for pandas, DuckDB, Polars and all else that reads Parquet.

OUT/videos.parquet      a row a video: ids, captions, times, statistics of masks, vector
OUT/captions.parquet    a row a caption: ids, text, vector
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.exporting.croissant import DescribedTable
from pipeline.exporting.destination import Destination
from pipeline.exporting.options import ExportOptions
from pipeline.exporting.source import Batch, Parts, Selected
from pipeline.exporting.tables import captions_schema, captions_table, videos_schema, videos_table
from pipeline.exporting.writer import FormatWriter

ROW_GROUP_BYTES = 2**24
"""Of a group of rows, which a reader has in memory as a whole."""

_BUFFER_BYTES = 2**21
"""Arrow writes headers of pages one by one, and each write waits for Python."""


class ParquetWriter(FormatWriter):
    """Writes both tables in one pass."""

    parts = Parts(requires_features=False)

    def __init__(self, out: Destination, options: ExportOptions, selected: Sequence[Selected]) -> None:
        super().__init__(out, options, selected)
        self._tables = (
            _Table(self, "videos.parquet", "The videos", videos_schema(self.dim), videos_table),
            _Table(self, "captions.parquet", "The captions of the videos", captions_schema(self.dim), captions_table),
        )

    def add(self, batch: Batch) -> None:
        """See `FormatWriter`."""
        for table in self._tables:
            table.add(batch)

    def finish(self) -> Sequence[DescribedTable]:
        """See `FormatWriter`."""
        for table in self._tables:
            table.end()
        self.out.open.close()
        return [table.described() for table in self._tables]


class _Table:
    """One file, written in groups of rows."""

    def __init__(
        self,
        writer: ParquetWriter,
        name: str,
        about: str,
        schema: pa.Schema,
        rows: Callable[[Batch, pa.Schema], pa.Table],
    ) -> None:
        self._name, self._about, self._schema, self._rows = name, about, schema, rows
        self._file = writer.out.open.enter_context(writer.out.file(name, hashed=True))
        texts = [field.name for field in schema if field.name in ("split", "category")]
        # Vectors are neither compressed nor counted: it costs much, and finds nothing in random numbers.
        others = [field.name for field in schema if field.name != "vector"]
        self._parquet = writer.out.open.enter_context(
            pq.ParquetWriter(
                writer.out.open.enter_context(pa.BufferedOutputStream(pa.PythonFile(self._file, "w"), _BUFFER_BYTES)),
                schema,
                compression={**dict.fromkeys(map(_leaf, schema), "zstd"), "vector.list.element": "none"},
                # Only columns with few values: for ids and captions, all different, a dictionary is built in vain.
                use_dictionary=texts,
                write_statistics=others,
            )
        )
        self._thread = writer.out.open.enter_context(ThreadPoolExecutor(1, thread_name_prefix="fda-tables"))
        """Encodes and writes a group of rows while the next one is read: without it, all takes half as long again."""
        self._writing: Future[None] | None = None
        self._waiting: list[pa.Table] = []
        self._num_bytes = 0

    def add(self, batch: Batch) -> None:
        rows = self._rows(batch, self._schema)
        self._waiting.append(rows)
        self._num_bytes += rows.nbytes
        if self._num_bytes >= ROW_GROUP_BYTES:
            self._write()

    def end(self) -> None:
        self._write()
        self._end_writing()

    def described(self) -> DescribedTable:
        return DescribedTable(self._name, self._about, self._file.num_bytes, self._file.sha256, self._schema)

    def _write(self) -> None:
        self._end_writing()
        if self._waiting:
            # One group at a time is written, and one collected: no more are in memory.
            self._writing = self._thread.submit(self._parquet.write_table, pa.concat_tables(self._waiting))
        self._waiting, self._num_bytes = [], 0

    def _end_writing(self) -> None:
        """Wait for the group that is being written, and raise its error."""
        if self._writing is not None:
            self._writing.result()
            self._writing = None


def _leaf(field: pa.Field) -> str:
    """The name of a column in the file: a list is three levels deep."""
    return f"{field.name}.list.element" if hasattr(field.type, "value_type") else field.name
