"""Arrays, a few files a split.

    OUT/test/video.npz          ids (num_videos,) and embeddings (num_videos, dim), unit norm
    OUT/test/frame.npz          ids, and embeddings (num_videos, num_frames, dim), not normalised; NaN for no frame
    OUT/test/text.npz           ids (num_captions,) and embeddings (num_captions, dim), unit norm
    OUT/test/truth.npy          (num_captions,): the row in video.npz that each caption describes
    OUT/test/captions.jsonl     the captions, a line each, in the order of text.npz

A feature set that was imported without frames has no frame.npz. `ids` is as wide as the longest id, which is on the
disk until it is compressed; the ids of a split are in memory until its end, as those of the catalogue are.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from contextlib import ExitStack

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.exporting.arrays import GrowingArray, as_type
from pipeline.exporting.croissant import DescribedFiles
from pipeline.exporting.destination import Destination
from pipeline.exporting.options import ExportOptions, VectorType
from pipeline.exporting.source import Batch, Parts, Selected
from pipeline.exporting.writer import FormatWriter

_IDS_AT_ONCE = 65_536


class NpzWriter(FormatWriter):
    """Writes the arrays of one split after another."""

    parts = Parts(times=False, masks=False)
    flags = ("vectors",)

    def __init__(self, out: Destination, options: ExportOptions, selected: Sequence[Selected]) -> None:
        super().__init__(out, options, selected)
        self._arrays: _SplitArrays | None = None

    def add(self, batch: Batch) -> None:
        """See `FormatWriter`."""
        if self._arrays is None or self._arrays.split != batch.split:
            self._end_split()
            self._arrays = _SplitArrays(self.out, batch, self.options.vectors)
        self._arrays.add(batch)

    def finish(self) -> Sequence[DescribedFiles]:
        """See `FormatWriter`."""
        self._end_split()
        return (
            DescribedFiles("arrays", "Embeddings and ids of videos, frames and captions", "*/*.npz", "application/zip"),
            DescribedFiles("truth", "The row of the video of each caption", "*/truth.npy", "application/x-npy"),
            DescribedFiles("captions", "The captions", "*/captions.jsonl", "application/jsonlines"),
        )

    def _end_split(self) -> None:
        if self._arrays is not None:
            self._arrays.end()
            self._arrays = None


class _SplitArrays:
    """The arrays of one split. Each grows in a file of its own, which goes into an archive at the end."""

    def __init__(self, out: Destination, batch: Batch, vectors: VectorType | None) -> None:
        self.split, self._out, self._vectors = batch.split, out, vectors
        layout, dim = batch.selected.store.layout(batch.split), batch.selected.dim or 0
        self._open = out.open.enter_context(ExitStack())
        shapes = {"video": (dim,), "frame": (layout.num_frames, dim), "text": (dim,)}
        dtype = str(vectors or VectorType.FLOAT32)
        self._embeddings = {
            name: GrowingArray(self._open.enter_context(out.scratch(f"{name}.npy")), shape, dtype)
            for name, shape in shapes.items()
        }
        self._truth = GrowingArray(self._open.enter_context(out.file(f"{self.split}/truth.npy")), (), np.int64)
        self._captions = self._open.enter_context(out.file(f"{self.split}/captions.jsonl"))
        self._ids: dict[str, list[pa.ChunkedArray]] = {"video": [], "text": []}
        self._has_frames = False

    def add(self, batch: Batch) -> None:
        frames = batch.padded_frame_vectors()
        self._has_frames |= not np.isnan(frames).all()
        # Before the videos of this batch are appended: rows so far are its first row.
        self._truth.append(batch.owners + self._embeddings["video"].num_rows)
        for name, values in (("video", batch.vectors()), ("frame", frames), ("text", batch.text_vectors())):
            self._embeddings[name].append(as_type(values, self._vectors))
        self._ids["video"].append(batch.videos["video_id"])
        self._ids["text"].append(batch.captions["caption_id"])
        for caption in batch.captions.select(["caption_id", "video_id", "text"]).to_pylist():
            self._captions.write(json.dumps(caption, ensure_ascii=False).encode() + b"\n")

    def end(self) -> None:
        self._truth.end()
        for array in self._embeddings.values():
            array.end()
        self._open.close()
        for name in ("video", "text", *(["frame"] if self._has_frames else [])):
            chunks = self._ids["text" if name == "text" else "video"]  # frames have the ids of their videos
            self._write(name, pa.chunked_array([chunk for ids in chunks for chunk in ids.chunks], pa.string()))
        self._out.remove_scratch()

    def _write(self, name: str, ids: pa.ChunkedArray) -> None:
        """One archive, as `numpy.load` opens it."""
        longest: int = pc.max(pc.utf8_length(ids)).as_py() or 1
        with self._out.scratch("ids.npy") as file:
            array = GrowingArray(file, (), f"<U{longest}")
            for start in range(0, len(ids), _IDS_AT_ONCE):
                array.append(np.array(ids.slice(start, _IDS_AT_ONCE).to_pylist(), dtype=f"<U{longest}"))
            array.end()
        with self._out.by_library(f"{self.split}/{name}.npz") as path, zipfile.ZipFile(path, "x") as archive:
            for member, scratch, compression in (
                ("embeddings", name, zipfile.ZIP_STORED),  # random numbers: there is nothing to compress
                ("ids", "ids", zipfile.ZIP_DEFLATED),
            ):
                about = zipfile.ZipInfo(f"{member}.npy")  # without a time: equal stores give equal bytes
                about.compress_type = compression
                with (
                    self._out.scratch_path(f"{scratch}.npy").open("rb") as source,
                    # The size is not known before, and might be over 4 GiB.
                    archive.open(about, "w", force_zip64=True) as target,
                ):
                    while block := source.read(2**20):
                        target.write(block)
