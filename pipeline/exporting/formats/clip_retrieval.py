"""What `clip-retrieval inference` writes, and `clip-retrieval index` and `back` read (rom1504/clip-retrieval b055335).

    OUT/img_emb/img_emb_0.npy           embeddings of videos, a row for each caption of each
    OUT/text_emb/text_emb_0.npy         embeddings of captions
    OUT/metadata/metadata_0.parquet     image_path, caption, and more; row i is of row i of the two arrays

A row is a pair of a video and a caption: the embedding of a video is there as often as it has captions.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import InputError
from pipeline.exporting.arrays import GrowingArray, as_type
from pipeline.exporting.croissant import Described, DescribedFiles, DescribedTable
from pipeline.exporting.destination import Destination, NewFile
from pipeline.exporting.options import ExportOptions, VectorType
from pipeline.exporting.source import Batch, Parts, Selected
from pipeline.exporting.writer import VIDEOS_PER_FILE, FormatWriter
from pipeline.run.words import plural

_METADATA = pa.schema(
    [
        pa.field("image_path", pa.string(), metadata={"about": "Path of the video, relative to the folder of videos"}),
        pa.field("caption", pa.string(), metadata={"about": "The text"}),
        pa.field("video_id", pa.string(), metadata={"about": "Id of the video"}),
        pa.field("caption_id", pa.string(), metadata={"about": "Id of the caption"}),
        pa.field("split", pa.string(), metadata={"about": "train, val, test, ..."}),
    ]
)


class ClipRetrievalWriter(FormatWriter):
    """Writes parts of so many videos."""

    parts = Parts(times=False, masks=False)
    flags = ("vectors", "videos_per_file")

    def __init__(self, out: Destination, options: ExportOptions, selected: Sequence[Selected]) -> None:
        super().__init__(out, options, selected)
        self._per_part = options.videos_per_file or VIDEOS_PER_FILE
        num_parts = -(-sum(one.store.layout(one.split).num_videos for one in selected) // self._per_part)
        self._num_digits = len(str(num_parts))
        """Parts are sorted by their names, so that all have as many digits."""
        self._part: _Part | None = None
        self._num_without = 0
        self._described: list[DescribedTable] = []

    def add(self, batch: Batch) -> None:
        """See `FormatWriter`."""
        self._num_without += len(batch) - len(np.unique(batch.owners))
        if not batch.captions.num_rows:
            return
        if self._part is None:
            number = f"{len(self._described):0{self._num_digits}d}"
            self._part = _Part(self.out, number, self.dim or 0, self.options.vectors)
        self._part.add(batch)
        if self._part.num_videos >= self._per_part:
            self._end_part()

    def finish(self) -> Sequence[Described]:
        """See `FormatWriter`."""
        self._end_part()
        if not self._described:
            raise InputError("no video has a caption, and a row of clip-retrieval is a pair of both: export `npz`")
        kinds = (("img_emb", "Embeddings of videos"), ("text_emb", "Embeddings of captions"))
        arrays = [DescribedFiles(name, about, f"{name}/*.npy", "application/x-npy") for name, about in kinds]
        return [*arrays, *self._described]

    def warnings(self) -> Sequence[str]:
        """See `FormatWriter`."""
        if not self._num_without:
            return ()
        return (f"{plural(self._num_without, 'video')} without a caption: this layout has no row for them",)

    def _end_part(self) -> None:
        if self._part is not None:
            self._described.append(self._part.end())
            self._part = None


class _Part:
    """One part: two arrays, and the rows of the table of both."""

    def __init__(self, out: Destination, number: str, dim: int, vectors: VectorType | None) -> None:
        self._vectors, self.num_videos = vectors, 0
        self._files = out.open.enter_context(ExitStack())
        dtype = str(vectors or VectorType.FLOAT32)
        self._images, self._texts = (
            GrowingArray(self._files.enter_context(out.file(f"{name}/{name}_{number}.npy")), (dim,), dtype)
            for name in ("img_emb", "text_emb")
        )
        self._name = f"metadata/metadata_{number}.parquet"
        self._metadata: NewFile = self._files.enter_context(out.file(self._name, hashed=True))
        self._rows: list[pa.Table] = []

    def add(self, batch: Batch) -> None:
        # (num_videos, dim) -> (num_captions, dim): a row for each pair, as the layout has it.
        self._images.append(as_type(batch.vectors()[batch.owners], self._vectors))
        self._texts.append(as_type(batch.text_vectors(), self._vectors))
        captions = batch.captions
        columns = [batch.videos["path"].take(pa.array(batch.owners)), captions["text"]]
        columns += [captions[name] for name in ("video_id", "caption_id", "split")]
        self._rows.append(pa.table(columns, schema=_METADATA))
        self.num_videos += len(batch)

    def end(self) -> DescribedTable:
        # Ids and texts of a part wait until its end: a table of many small row groups is slow to read.
        pq.write_table(pa.concat_tables(self._rows), self._metadata)
        self._images.end()
        self._texts.end()
        self._files.close()
        about = "What the rows of the arrays are of"
        return DescribedTable(self._name, about, self._metadata.num_bytes, self._metadata.sha256, _METADATA)
