"""The catalogue: every video and caption of a data set, in the order of the arrays, in Parquet."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from store.errors import NotInStoreError
from store.files import StoreFolder
from store.schema import Caption, Shard, Video

VIDEOS_NAME = "catalog/videos.parquet"
CAPTIONS_NAME = "catalog/captions.parquet"

_VIDEOS = pa.schema(
    [
        ("video_id", pa.string()),
        ("split", pa.string()),
        ("row", pa.int64()),
        ("path", pa.string()),
        ("start_seconds", pa.float64()),
        ("end_seconds", pa.float64()),
    ]
)
_CAPTIONS = pa.schema(
    [
        ("caption_id", pa.string()),
        ("video_id", pa.string()),
        ("split", pa.string()),
        ("row", pa.int64()),
        ("text", pa.string()),
    ]
)


def parquet_bytes(table: pa.Table) -> bytes:
    """A table as the bytes of a Parquet file: equal tables give equal bytes."""
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()


@dataclass(frozen=True)
class Catalog:
    """All videos and captions of a store. Kept as Arrow tables, so that millions of rows stay small."""

    videos: pa.Table
    """Columns video_id, split, row, path, start_seconds, end_seconds: the videos of a split stand together, in row
    order."""
    captions: pa.Table
    """Columns caption_id, video_id, split, row, text: likewise, the captions of a video together."""

    @classmethod
    def of(cls, videos: Sequence[Video], captions: Sequence[Caption]) -> Catalog:
        """Make a catalogue of rows that are in array order already."""
        return cls(
            pa.Table.from_pylist([_fields(video, _VIDEOS) for video in videos], schema=_VIDEOS),
            pa.Table.from_pylist([_fields(caption, _CAPTIONS) for caption in captions], schema=_CAPTIONS),
        )

    @classmethod
    def read(cls, folder: StoreFolder) -> Catalog:
        """Read the catalogue of a store."""
        return cls(
            pq.read_table(io.BytesIO(folder.read(VIDEOS_NAME)), schema=_VIDEOS),
            pq.read_table(io.BytesIO(folder.read(CAPTIONS_NAME)), schema=_CAPTIONS),
        )

    def write(self, folder: StoreFolder) -> None:
        """Write the two files, the videos last: where they stand, the catalogue is whole."""
        folder.write(CAPTIONS_NAME, parquet_bytes(self.captions))
        folder.write(VIDEOS_NAME, parquet_bytes(self.videos))

    @cached_property
    def splits(self) -> tuple[str, ...]:
        """The splits, in the order in which the catalogue holds them."""
        return tuple(pc.unique(self.videos["split"]).to_pylist())

    def shard_videos(self, shard: Shard) -> tuple[Video, ...]:
        """The videos of one shard, in row order."""
        rows = self.split_videos(shard.split).slice(shard.start, shard.num_rows)
        return tuple(Video(**fields) for fields in rows.to_pylist())

    def split_videos(self, split: str) -> pa.Table:
        """The part of `videos` that belongs to a split.

        Raises:
            NotInStoreError: There is no such split.
        """
        return self._slice(self._video_slices, split)

    def split_captions(self, split: str) -> pa.Table:
        """The part of `captions` that belongs to a split."""
        return self._slice(self._caption_slices, split)

    @cached_property
    def _video_slices(self) -> Mapping[str, pa.Table]:
        return _by_split(self.videos)

    @cached_property
    def _caption_slices(self) -> Mapping[str, pa.Table]:
        return _by_split(self.captions)

    def _slice(self, slices: Mapping[str, pa.Table], split: str) -> pa.Table:
        if split not in self.splits:
            raise NotInStoreError(f"no split {split!r} here: the store has {', '.join(map(repr, self.splits))}")
        return slices.get(split, self.captions.slice(0, 0))  # a split has videos; it may have no caption


def _by_split(table: pa.Table) -> dict[str, pa.Table]:
    """Split -> its rows, which stand together: slices that share the table's memory."""
    counts = pc.value_counts(table["split"]).to_pylist()  # in the order in which the splits come
    slices, start = {}, 0
    for one in counts:
        slices[one["values"]] = table.slice(start, one["counts"])
        start += one["counts"]
    return slices


def _fields(row: Video | Caption, schema: pa.Schema) -> dict[str, str | int | float | None]:
    return {name: getattr(row, name) for name in schema.names}
