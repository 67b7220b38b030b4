"""A `DatasetDict` on disk, for `datasets.load_from_disk`: a row a video, with its captions and their vectors in lists.

OUT/dataset_dict.json
OUT/test/data-00000-of-00001.arrow, dataset_info.json, state.json
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import pyarrow as pa

from pipeline.exporting.croissant import DescribedFiles
from pipeline.exporting.destination import Destination
from pipeline.exporting.options import ExportOptions
from pipeline.exporting.source import Batch, Parts, Selected
from pipeline.exporting.tables import as_vectors, caption_lists, vector_type, videos_schema, videos_table
from pipeline.exporting.writer import FormatWriter, MissingPackageError
from store.remedies import install_extra

_SCRATCH = "rows.arrow"


class HuggingFaceWriter(FormatWriter):
    """Writes one data set a split, by the package `datasets` itself: rows go through a file that it maps."""

    parts = Parts(requires_features=False)

    def __init__(self, out: Destination, options: ExportOptions, selected: Sequence[Selected]) -> None:
        super().__init__(out, options, selected)
        self._rows: _Rows | None = None

    @classmethod
    def require_packages(cls) -> None:
        """See `FormatWriter`."""
        if importlib.util.find_spec("datasets") is None:
            raise MissingPackageError(
                "--format huggingface is written by the package datasets, which is not installed: "
                f"{install_extra('huggingface')}"
            )

    def add(self, batch: Batch) -> None:
        """See `FormatWriter`."""
        if self._rows is None or self._rows.split != batch.split:
            self._end_split()
            self._rows = _Rows(self.out, batch.split, _schema(batch.selected.dim))
        self._rows.add(batch)

    def finish(self) -> Sequence[DescribedFiles]:
        """See `FormatWriter`."""
        self._end_split()
        splits = [one.split for one in self.selected]
        self.out.write("dataset_dict.json", json.dumps({"splits": splits}).encode())
        about = "Videos, with captions, times, statistics of masks and vectors; read them by datasets.load_from_disk"
        return [DescribedFiles("rows", about, "*/*.arrow", "application/vnd.apache.arrow.stream")]

    def _end_split(self) -> None:
        if self._rows is not None:
            self._rows.end()
            self._rows = None


def _schema(dim: int | None) -> pa.Schema:
    columns = list(videos_schema(dim))
    place = next(number for number, column in enumerate(columns) if column.name == "captions") + 1
    columns.insert(place, pa.field("caption_ids", pa.list_(pa.string())))
    if dim is not None:
        columns.append(pa.field("caption_vectors", pa.list_(vector_type(dim))))
    return pa.schema([column.remove_metadata() for column in columns])


class _Rows:
    """The rows of one split, in a file of Arrow's stream format."""

    def __init__(self, out: Destination, split: str, schema: pa.Schema) -> None:
        self.split, self._out, self._schema = split, out, schema
        self._open = out.open.enter_context(ExitStack())
        self._file = self._open.enter_context(out.scratch(_SCRATCH, hashed=True))
        self._stream = self._open.enter_context(pa.ipc.new_stream(self._file, schema))

    def add(self, batch: Batch) -> None:
        videos = videos_table(batch, videos_schema(batch.selected.dim))
        columns = {name: videos[name] for name in videos.column_names}
        columns["caption_ids"] = caption_lists(batch.captions["caption_id"], batch)
        if "caption_vectors" in self._schema.names:
            columns["caption_vectors"] = caption_lists(as_vectors(batch.text_vectors()), batch)
        self._stream.write_table(pa.table([columns[name] for name in self._schema.names], schema=self._schema))

    def end(self) -> None:
        import datasets  # an extra, which takes a second to import

        self._open.close()
        with self._out.by_library_in(self.split) as folder, _without_bars(datasets):
            # Mapped, not read: the rows of a split need not fit into memory.
            rows = datasets.Dataset.from_file(str(self._out.scratch_path(_SCRATCH))).data
            # Its own fingerprint is of the path and the time; this one is of the content.
            datasets.Dataset(rows, fingerprint=self._file.sha256).save_to_disk(str(folder))
        self._out.remove_scratch()


@contextmanager
def _without_bars(datasets: object) -> Iterator[None]:
    """Without the bars of the package, which would be drawn into those of this one."""
    bars = datasets.utils  # type: ignore[attr-defined]
    was_shown = bars.are_progress_bars_disabled() is False
    bars.disable_progress_bars()
    try:
        yield
    finally:
        if was_shown:
            bars.enable_progress_bars()
