"""The catalogue: every video and caption of a data set, in the order of the arrays, in Parquet."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

import pyarrow as pa
import pyarrow.compute as pc

from store.errors import NotInStoreError, StoreFormatError
from store.formats.parquet import parquet_bytes, read_table
from store.places.folder import StoreFolder
from store.remedies import PREPROCESS_AGAIN
from store.schema import Caption, Shard, SplitLayout, Video

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
        ("category", pa.string()),
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


_ROWS_AT_ONCE = 65_536
"""Rows of a table that are converted to Python objects at a time."""


@dataclass(frozen=True)
class Catalog:
    """All videos and captions of a store, as Arrow tables, so that millions of rows take little memory."""

    videos: pa.Table
    """Columns video_id, split, row, path, start_seconds, end_seconds, category. The videos of a split are consecutive,
    in row order."""
    captions: pa.Table
    """Columns caption_id, video_id, split, row, text, in the same order; the captions of a video are consecutive."""

    @classmethod
    def of(cls, videos: Iterable[Video], captions: Iterable[Caption]) -> Catalog:
        """Make a catalogue of rows that are already in array order; iterators are consumed one by one."""
        return cls(_table(videos, _VIDEOS), _table(captions, _CAPTIONS))

    @classmethod
    def read(cls, folder: StoreFolder) -> Catalog:
        """Read the catalogue of a store.

        Raises:
            StoreMissingError: There is none.
            StoreFormatError: It is damaged.
        """
        return cls(
            read_table(folder.read(VIDEOS_NAME), VIDEOS_NAME, _VIDEOS),
            read_table(folder.read(CAPTIONS_NAME), CAPTIONS_NAME, _CAPTIONS),
        )

    def write(self, folder: StoreFolder) -> None:
        """Write the two files, the videos last: if that file exists, the catalogue is complete."""
        folder.write(CAPTIONS_NAME, parquet_bytes(self.captions))
        folder.write(VIDEOS_NAME, parquet_bytes(self.videos))

    def first(self, layouts: Mapping[str, SplitLayout]) -> Catalog:
        """The part that the manifest counts: a store that is growing has new rows here before they count.

        Raises:
            StoreFormatError: There are fewer rows than the manifest says.
        """
        videos, captions = [], []
        for split, layout in layouts.items():
            counts = (layout.num_videos, layout.num_captions)
            found = (
                self._video_slices.get(split, self.videos.slice(0, 0)),
                self._caption_slices.get(split, self.captions.slice(0, 0)),
            )
            if any(table.num_rows < count for table, count in zip(found, counts, strict=True)):
                raise StoreFormatError(
                    f"the catalogue has {found[0].num_rows} videos and {found[1].num_rows} captions of split "
                    f"{split!r}, and store.json says {counts[0]} and {counts[1]}: {PREPROCESS_AGAIN}"
                )
            videos.append(found[0].slice(0, counts[0]))
            captions.append(found[1].slice(0, counts[1]))
        if sum(map(len, videos)) == len(self.videos) and sum(map(len, captions)) == len(self.captions):
            return self
        return Catalog(pa.concat_tables(videos).combine_chunks(), pa.concat_tables(captions).combine_chunks())

    def digest(self) -> str:
        """The sha256 of all rows, in order."""
        content = hashlib.sha256()
        for table in (self.videos, self.captions):
            for start in range(0, table.num_rows, _ROWS_AT_ONCE):
                for values in table.slice(start, _ROWS_AT_ONCE).to_pydict().values():
                    content.update(json.dumps(values).encode())
        return content.hexdigest()

    def captions_digest(self, shard: Shard) -> str:
        """The sha256 of the captions of a shard of captions, with their ids."""
        rows = self.split_captions(shard.split).slice(shard.start, shard.num_rows)
        texts = [text for name in ("caption_id", "text") for text in rows[name].to_pylist()]
        return hashlib.sha256(json.dumps(texts).encode()).hexdigest()

    @cached_property
    def splits(self) -> tuple[str, ...]:
        """The splits, in the order of the catalogue."""
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
    """Split -> its rows, which are consecutive: slices that share the table's memory."""
    counts = pc.value_counts(table["split"]).to_pylist()  # in the order in which the splits come
    slices, start = {}, 0
    for count in counts:
        slices[count["values"]] = table.slice(start, count["counts"])
        start += count["counts"]
    return slices


def _table(rows: Iterable[Video] | Iterable[Caption], schema: pa.Schema) -> pa.Table:
    """Rows as a table, converted in batches: as Python objects, millions of rows would take gigabytes."""
    waiting, parts = iter(rows), [schema.empty_table()]
    while batch := list(islice(waiting, _ROWS_AT_ONCE)):
        parts.append(pa.table({name: [getattr(row, name) for row in batch] for name in schema.names}, schema=schema))
    return pa.concat_tables(parts)
