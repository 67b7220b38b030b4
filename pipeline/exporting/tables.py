"""Videos and captions as rows of a table: the columns of `parquet`, `huggingface` and of other formats' metadata."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.exporting.source import Batch


def _column(name: str, kind: pa.DataType, about: str) -> pa.Field:
    return pa.field(name, kind, metadata={"about": about})


def vector_type(dim: int) -> pa.DataType:
    """A list of fixed size, without a place for a missing number: it is written half as fast again."""
    return pa.list_(pa.field("element", pa.float32(), nullable=False), dim)


_CLIP = (
    ("duration_seconds", pa.float64(), "Length of the video; null if not known"),
    ("fps", pa.float64(), "Frames a second of the video file; null if not known"),
)
_MASKS = (
    ("mask_coverage", pa.float64(), "Mean share of the picture that a mask covers, 0..1"),
    ("num_masks", pa.int64(), "Masks of the clip, one a frame"),
    ("num_empty_masks", pa.int64(), "Masks that cover nothing"),
    ("num_full_masks", pa.int64(), "Masks that cover almost everything"),
    ("camera_motion", pa.bool_(), "Whether the camera moved; null if that could not be measured"),
)


def videos_schema(dim: int | None) -> pa.Schema:
    """Columns of `videos_table`.

    Args:
        dim: Numbers of an embedding; None: there are none.
    """
    columns = [
        _column("video_id", pa.string(), "Id of the video"),
        _column("split", pa.string(), "train, val, test, ..."),
        _column("path", pa.string(), "Of its file, relative to the folder of the videos"),
        _column("start_seconds", pa.float64(), "Where the clip starts in the file"),
        _column("end_seconds", pa.float64(), "Where it ends; null: at the end of the file"),
        _column("category", pa.string(), "As the data set has it"),
        _column("captions", pa.list_(pa.string()), "Every text that describes the video"),
        _column("frame_seconds", pa.list_(pa.float64()), "When each frame of the clip is shown, in the file"),
        *(_column(*column) for column in (*_CLIP, *_MASKS)),
    ]
    vector = [] if dim is None else [_column("vector", vector_type(dim), "Embedding of the video, of unit norm")]
    return pa.schema([*columns, *vector])


def captions_schema(dim: int | None) -> pa.Schema:
    """Columns of `captions_table`."""
    vector = [] if dim is None else [_column("vector", vector_type(dim), "Embedding of the caption, of unit norm")]
    return pa.schema(
        [
            _column("caption_id", pa.string(), "Id of the caption"),
            _column("video_id", pa.string(), "The video that it describes"),
            _column("split", pa.string(), "That of the video"),
            _column("caption", pa.string(), "The text"),
            *vector,
        ]
    )


def videos_table(batch: Batch, schema: pa.Schema) -> pa.Table:
    """One row a video."""
    columns: dict[str, pa.Array | pa.ChunkedArray] = {
        name: batch.videos[name] for name in ("video_id", "split", "path", "start_seconds", "end_seconds", "category")
    }
    columns["captions"] = caption_lists(batch.captions["text"], batch)
    columns["frame_seconds"] = frame_seconds(batch)
    for group, facts in ((_CLIP, batch.clip_facts), (_MASKS, batch.mask_facts)):
        for name, kind, _ in group:
            columns[name] = pa.nulls(len(batch), kind) if facts is None else facts[name]
    if "vector" in schema.names:
        columns["vector"] = as_vectors(batch.vectors())
    return pa.table([columns[name] for name in schema.names], schema=schema)


def captions_table(batch: Batch, schema: pa.Schema) -> pa.Table:
    """One row a caption."""
    captions = batch.captions
    columns = [captions["caption_id"], captions["video_id"], captions["split"], captions["text"]]
    vectors = [as_vectors(batch.text_vectors())] if "vector" in schema.names else []
    return pa.table([*columns, *vectors], schema=schema)


def video_records(batch: Batch) -> list[dict[str, Any]]:
    """What is known of each video, as JSON: the columns of `videos_table` but for the vector, and ids of captions."""
    rows: list[dict[str, Any]] = videos_table(batch, videos_schema(None)).to_pylist()
    ids = batch.captions["caption_id"].to_pylist()
    bounds = caption_bounds(batch).tolist()
    for number, row in enumerate(rows):
        row["caption_ids"] = ids[bounds[number] : bounds[number + 1]]
        if batch.selected.is_imported and not batch.selected.parts.frames:
            row["frame_seconds"] = None  # those of the store's frames are not of the frames that were embedded
    return rows


def caption_bounds(batch: Batch) -> NDArray[np.int32]:
    """Where the captions of each video begin and end among those of the batch: shape (len(batch) + 1,)."""
    return np.searchsorted(batch.owners, np.arange(len(batch) + 1)).astype(np.int32)


def caption_lists(values: pa.Array | pa.ChunkedArray, batch: Batch) -> pa.Array:
    """Values of captions as one list a video."""
    flat = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    # Bounds and values: no text is copied, as lists of Python would do.
    return pa.ListArray.from_arrays(pa.array(caption_bounds(batch)), flat)


def as_vectors(values: NDArray[np.float32]) -> pa.Array:
    """Rows of an array as a column; they are not copied."""
    flat = pa.array(np.ascontiguousarray(values).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, type=vector_type(values.shape[1]))


def frame_seconds(batch: Batch) -> pa.Array:
    """When each frame is shown; null where that is not known."""
    if not batch.selected.has_clips:
        return pa.nulls(len(batch), pa.list_(pa.float64()))
    times = batch.padded_times()
    is_frame = ~np.isnan(times)
    counts = is_frame.sum(axis=1)
    bounds = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)  # (n + 1,), as Arrow has lists
    return pa.ListArray.from_arrays(pa.array(bounds), pa.array(times[is_frame]), mask=pa.array(counts == 0))
