"""The catalogue: every video and caption of a data set, in the order of the arrays, in Parquet."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from store.errors import NotInStoreError, StoreFormatError, StoreMissingError
from store.formats.columns import integers, table_of
from store.formats.parquet import num_rows_of, parquet_bytes, read_table
from store.formats.seal import check_sealed
from store.places.folder import StoreFolder
from store.remedies import REBUILD_CATALOG
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


_NEEDED = ("video_id", "caption_id", "split", "row", "path", "text")
"""Columns that have a value in every row."""

_ROWS_AT_ONCE = 65_536
"""Rows of a table that are converted to Python objects at a time."""


@dataclass(frozen=True, slots=True)
class CaptionsFile:
    """Captions of a store that nobody has asked for yet. What only needs the videos saves more than half the memory."""

    folder: StoreFolder
    num_rows: int
    sha256: str
    """Of the file, as it was when the store was opened."""
    counts: Mapping[str, int] | None = None
    """Split -> captions that it should have; None: it is not known."""
    digest: str | None = None
    """Of the catalogue that these captions belong to, if it is known."""

    @classmethod
    def of(cls, folder: StoreFolder) -> Self:
        """Those of a store, whose file is checked but for its rows; errors are those of `Catalog.read`."""
        content = _whole(folder, CAPTIONS_NAME)
        num_rows = num_rows_of(content, f"{folder.place}/{CAPTIONS_NAME}")
        return cls(folder, num_rows, hashlib.sha256(content).hexdigest())

    def read(self, videos: pa.Table) -> pa.Table:
        """The captions, without those that a run has added since the store was opened.

        Args:
            videos: Those of the catalogue.

        Raises:
            StoreFormatError: The file has rows that no writer gives it, or fewer than it should; or a run has updated
                captions since.
        """
        content = _whole(self.folder, CAPTIONS_NAME)
        captions = _table_of(content, f"{self.folder.place}/{CAPTIONS_NAME}", _CAPTIONS)
        if self.counts is None:
            return captions
        found = _first("captions", captions, _by_split(captions), self.counts)
        is_same = hashlib.sha256(content).hexdigest() == self.sha256
        if not is_same and Catalog(videos, found).digest() != self.digest:
            raise StoreFormatError(f"{self.folder.place}: a run has updated its captions: open it again")
        return found


@dataclass(frozen=True)
class Catalog:
    """All videos and captions of a store, as Arrow tables, so that millions of rows take little memory."""

    videos: pa.Table
    """Columns video_id, split, row, path, start_seconds, end_seconds, category. The videos of a split are consecutive,
    in row order."""
    its_captions: pa.Table | CaptionsFile
    """See `captions`."""

    @cached_property
    def captions(self) -> pa.Table:
        """Columns caption_id, video_id, split, row, text. Read on first use.

        In the order of the videos; the captions of a video are consecutive.

        Raises:
            StoreFormatError: See `CaptionsFile.read`.
        """
        return self.its_captions.read(self.videos) if isinstance(self.its_captions, CaptionsFile) else self.its_captions

    @property
    def num_rows(self) -> tuple[int, int]:
        """Videos and captions."""
        return self.videos.num_rows, self.its_captions.num_rows

    @classmethod
    def of(cls, videos: Iterable[Video], captions: Iterable[Caption]) -> Catalog:
        """Make a catalogue of rows that are already in array order; iterators are consumed one by one."""
        return cls(_table(videos, _VIDEOS), _table(captions, _CAPTIONS))

    @classmethod
    def read(cls, folder: StoreFolder) -> Catalog:
        """Read the catalogue of a store.

        Raises:
            StoreMissingError: A file of it is missing.
            StoreFormatError: A file of it was changed since it was written, or has rows that no writer gives it.
        """
        return cls(read_videos(folder), CaptionsFile.of(folder))

    def write(self, folder: StoreFolder) -> None:
        """Write the two files, the videos last: if that file exists, the catalogue is complete."""
        folder.write(CAPTIONS_NAME, parquet_bytes(self.captions))
        folder.write(VIDEOS_NAME, parquet_bytes(self.videos))

    def first(self, layouts: Mapping[str, SplitLayout], digest: str | None = None) -> Catalog:
        """The part that the manifest counts: a store that is growing has new rows here before they count.

        Args:
            layouts: By split.
            digest: What the manifest says of that part; captions that are read later are compared with it.

        Raises:
            StoreFormatError: There are fewer rows than the manifest says.
        """
        num_videos = {split: layout.num_videos for split, layout in layouts.items()}
        num_captions = {split: layout.num_captions for split, layout in layouts.items()}
        videos = _first("videos", self.videos, self._video_slices, num_videos)
        is_all = sum(num_captions.values()) == self.its_captions.num_rows
        if is_all and isinstance(self.its_captions, CaptionsFile):
            return Catalog(videos, replace(self.its_captions, counts=num_captions, digest=digest))
        return Catalog(videos, _first("captions", self.captions, self._caption_slices, num_captions))

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

    def by_id(self) -> dict[str, Video]:
        """Video id -> its row."""
        names = self.videos.column_names
        columns = [self.videos[name].to_pylist() for name in names]
        videos = (Video(**dict(zip(names, values, strict=True))) for values in zip(*columns, strict=True))
        return {video.video_id: video for video in videos}

    def texts(self) -> dict[str, list[str]]:
        """Video id -> its captions."""
        texts: dict[str, list[str]] = {}
        ids, all_texts = (self.captions[name].to_pylist() for name in ("video_id", "text"))
        for video_id, text in zip(ids, all_texts, strict=True):
            texts.setdefault(video_id, []).append(text)
        return texts

    def arranged(self, order: Mapping[str, Sequence[str]]) -> Catalog:
        """Videos of this catalogue in another order, with their captions.

        Args:
            order: Split -> ids of its videos, in the order of their rows.
        """
        videos, texts = self.by_id(), self.texts()
        captions = (
            Caption(f"{video_id}#{number}", video_id, split, row, text)
            for split, ids in order.items()
            for row, (video_id, number, text) in enumerate(
                (video_id, number, text) for video_id in ids for number, text in enumerate(texts.get(video_id, ()))
            )
        )
        rows = (
            replace(videos[video_id], split=split, row=row)
            for split, ids in order.items()
            for row, video_id in enumerate(ids)
        )
        return Catalog.of(rows, captions)

    @cached_property
    def splits(self) -> tuple[str, ...]:
        """The splits, in the order of the catalogue."""
        return tuple(pc.unique(self.videos["split"]).to_pylist())

    def video_ids(self, split: str, start: int, stop: int) -> list[str]:
        """The ids of the videos of the rows `[start, stop)` of a split."""
        ids: list[str] = self.split_videos(split)["video_id"].slice(start, stop - start).to_pylist()
        return ids

    def shard_videos(self, shard: Shard) -> tuple[Video, ...]:
        """The videos of one shard, in row order."""
        rows = self.split_videos(shard.split).slice(shard.start, shard.num_rows)
        return tuple(Video(**fields) for fields in rows.to_pylist())

    def split_videos(self, split: str) -> pa.Table:
        """The part of `videos` that belongs to a split.

        Raises:
            NotInStoreError: There is no such split.
        """
        self._check_split(split)
        return self._video_slices[split]

    def split_captions(self, split: str) -> pa.Table:
        """The part of `captions` that belongs to a split."""
        self._check_split(split)
        return self._caption_slices.get(split, self.captions.slice(0, 0))  # a split may have no caption

    @cached_property
    def _video_slices(self) -> Mapping[str, pa.Table]:
        return _by_split(self.videos)

    @cached_property
    def _caption_slices(self) -> Mapping[str, pa.Table]:
        return _by_split(self.captions)

    def _check_split(self, split: str) -> None:
        if split not in self.splits:
            raise NotInStoreError(f"no split {split!r} here: the store has {', '.join(map(repr, self.splits))}")


def _first(what: str, table: pa.Table, slices: Mapping[str, pa.Table], counts: Mapping[str, int]) -> pa.Table:
    """The first rows of each split of a table, as many as are counted."""
    parts = []
    for split, count in counts.items():
        found = slices.get(split, table.slice(0, 0))
        if found.num_rows < count:
            raise _other_counts(what, split, found.num_rows, count)
        parts.append(found.slice(0, count))
    return table if sum(map(len, parts)) == len(table) else pa.concat_tables(parts).combine_chunks()


def _other_counts(what: str, split: str, num_found: int, count: int) -> StoreFormatError:
    return StoreFormatError(
        f"the catalogue's number of {what} of split {split!r} is {num_found}, and that of store.json is {count}: "
        f"{REBUILD_CATALOG}"
    )


def read_videos(folder: StoreFolder) -> pa.Table:
    """The one file of `Catalog.read`; errors are the same."""
    return _read(folder, VIDEOS_NAME, _VIDEOS)


def read_captions(folder: StoreFolder) -> pa.Table:
    """The other file of `Catalog.read`; errors are the same."""
    return _read(folder, CAPTIONS_NAME, _CAPTIONS)


def _read(folder: StoreFolder, name: str, schema: pa.Schema) -> pa.Table:
    """One of the two files, whose every bit is what was written."""
    return _table_of(_whole(folder, name), f"{folder.place}/{name}", schema)


def _table_of(content: bytes, path: str, schema: pa.Schema) -> pa.Table:
    table = read_table(content, path, schema)
    # Rows are positions in the arrays, and readers go by the position in the table. A writer can only give both.
    counted = [integers(np.arange(part.num_rows)) for part in _by_split(table).values()]
    rows = pa.chunked_array(counted, pa.int64())
    if any(table[key].null_count for key in _NEEDED if key in table.column_names) or not table["row"].equals(rows):
        raise StoreFormatError(f"{path} has rows without an id, or in another order than it says: {REBUILD_CATALOG}")
    return table


def _whole(folder: StoreFolder, name: str) -> bytes:
    path = f"{folder.place}/{name}"
    try:
        content = folder.read(name)
    except StoreMissingError as error:
        raise StoreMissingError(f"{path} is missing: {REBUILD_CATALOG}") from error
    check_sealed(content, path, REBUILD_CATALOG)
    return content


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
    waiting, parts = iter(rows), [table_of(dict.fromkeys(schema.names, ()), schema)]
    while batch := list(islice(waiting, _ROWS_AT_ONCE)):
        parts.append(table_of({name: [getattr(row, name) for row in batch] for name in schema.names}, schema))
    return pa.concat_tables(parts)
