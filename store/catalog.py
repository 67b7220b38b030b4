"""The catalogue: every video and caption of a data set, in the order of the arrays, in Parquet."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from store.catalog_rows import TAKEN_AT_ONCE, CatalogRows
from store.errors import NotInStoreError, StoreFormatError, StoreMissingError
from store.formats.columns import numbers_of, table_of
from store.formats.parquet import GROUP_ROWS
from store.formats.seal import check_sealed
from store.places.folder import StoreFolder
from store.remedies import PREPROCESS_AGAIN, REBUILD_CATALOG, RUN_AGAIN
from store.schema import Caption, Shard, SplitLayout, Video

VIDEOS_NAME = "catalog/videos.parquet"
CAPTIONS_NAME = "catalog/captions.parquet"
_END_BYTES = 4096
"""Of a Parquet file, in which its seal is: it comes after the places of all rows."""

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


@dataclass(frozen=True, slots=True)
class CaptionsFile:
    """Captions of a store that nobody has asked for yet. What only needs the videos saves more than half the memory."""

    folder: StoreFolder
    end_sha256: str
    """Of the end of the file, as it was when the store was opened. The seal is there: other captions have another."""
    counts: Mapping[str, int] | None = None
    """Split -> captions that count; None: all."""
    digest: str | None = None
    """Of the catalogue that those which count belong to."""

    @classmethod
    def of(cls, folder: StoreFolder) -> Self:
        """Those of a store. Nothing is believed yet: the file may be damaged.

        Raises:
            StoreMissingError: There is none.
        """
        path, file = f"{folder.place}/{CAPTIONS_NAME}", folder.open(CAPTIONS_NAME)
        if file is None:
            raise StoreMissingError(f"{path} is missing: {REBUILD_CATALOG}")
        end = np.empty(min(file.num_bytes, _END_BYTES), np.uint8)
        if not file.fill(file.num_bytes - len(end), [end]):
            raise StoreFormatError(f"{path} was cut while it was read: {REBUILD_CATALOG}")
        return cls(folder, hashlib.sha256(end.data).hexdigest())

    def read(self, videos: CatalogRows) -> CatalogRows:
        """The captions that count, without those that a run has added since the store was opened.

        Args:
            videos: Those of the catalogue.

        Raises:
            StoreMissingError: The file has gone.
            StoreFormatError: The file was changed since it was written, has rows that no writer gives it, or fewer than
                it should; or a run has updated captions since the store was opened, or was killed while it did.
        """
        content = _whole(self.folder, CAPTIONS_NAME)
        captions = CatalogRows.checked(content, f"{self.folder.place}/{CAPTIONS_NAME}", _CAPTIONS)
        if self.counts is None:
            return captions
        found = _first("captions", captions, self.counts)
        is_same = hashlib.sha256(memoryview(content)[-_END_BYTES:]).hexdigest() == self.end_sha256
        # New videos have their captions after the others, whose digest is unchanged. Other captions of the same videos
        # are in between, and nothing fits.
        if (not is_same or found.num_rows != captions.num_rows) and Catalog(videos, found).digest() != self.digest:
            if is_same:
                raise StoreFormatError(half_way(self.folder))
            raise StoreFormatError(
                f"{self.folder.place}: a run has updated its captions meanwhile: {RUN_AGAIN}, or open the store again"
            )
        return found


@dataclass(frozen=True, eq=False)
class Catalog:
    """All videos and captions of a store, as the bytes of their files, so that millions of rows take little memory.

    A few rows are read where they lie. `videos` and `captions` are tables of all, with more than four times the memory.
    """

    video_rows: CatalogRows
    """Columns video_id, split, row, path, start_seconds, end_seconds, category. The videos of a split are consecutive,
    in row order."""
    its_captions: CatalogRows | CaptionsFile
    """See `caption_rows`."""

    @cached_property
    def caption_rows(self) -> CatalogRows:
        """Columns caption_id, video_id, split, row, text. Read on first use.

        In the order of the videos; the captions of a video are consecutive.

        Raises:
            StoreFormatError: See `CaptionsFile.read`.
        """
        its = self.its_captions
        return its.read(self.video_rows) if isinstance(its, CaptionsFile) else its

    @cached_property
    def videos(self) -> pa.Table:
        """`video_rows` in memory."""
        return self.video_rows.table()

    @cached_property
    def captions(self) -> pa.Table:
        """`caption_rows` in memory; errors are the same."""
        return self.caption_rows.table()

    @property
    def num_rows(self) -> tuple[int, int]:
        """Videos and captions."""
        its, num_videos = self.its_captions, self.video_rows.num_rows
        if isinstance(its, CaptionsFile) and its.counts is not None:
            return num_videos, sum(its.counts.values())
        return num_videos, self.caption_rows.num_rows

    @classmethod
    def of(cls, videos: Iterable[Video], captions: Iterable[Caption]) -> Catalog:
        """Make a catalogue of rows that are already in array order; iterators are consumed one by one."""
        return cls.of_tables(_tables(videos, _VIDEOS), _tables(captions, _CAPTIONS))

    @classmethod
    def of_tables(cls, videos: Iterable[pa.Table], captions: Iterable[pa.Table]) -> Catalog:
        """`of`, with rows as tables, one after the other."""
        return cls(CatalogRows.made_of(videos, _VIDEOS), CatalogRows.made_of(captions, _CAPTIONS))

    @classmethod
    def read(cls, folder: StoreFolder) -> Catalog:
        """Read the catalogue of a store.

        Raises:
            StoreMissingError: A file of it is missing.
            StoreFormatError: The file of the videos was changed since it was written, or has rows that no writer gives
                it. That of the captions is checked when it is read: in an object store, it may have gigabytes.
        """
        return cls(read_videos(folder), CaptionsFile.of(folder))

    def write(self, folder: StoreFolder) -> None:
        """Write the two files, the videos last: if that file exists, the catalogue is complete."""
        folder.write(CAPTIONS_NAME, self.caption_rows.content())
        folder.write(VIDEOS_NAME, self.video_rows.content())

    def first(self, layouts: Mapping[str, SplitLayout], digest: str | None = None) -> Catalog:
        """The part that the manifest counts: a store that is growing has new rows here before they count.

        Args:
            layouts: By split.
            digest: What the manifest says of that part. If it is given, captions may be read later, and are compared
                with it if they have changed until then.

        Raises:
            StoreFormatError: There are fewer rows than the manifest says.
        """
        num_videos = {split: layout.num_videos for split, layout in layouts.items()}
        num_captions = {split: layout.num_captions for split, layout in layouts.items()}
        videos = _first("videos", self.video_rows, num_videos)
        # `caption_rows` is in `vars` once it was asked for: then the captions are in memory, and are cut here.
        if digest is not None and isinstance(self.its_captions, CaptionsFile) and "caption_rows" not in vars(self):
            return Catalog(videos, replace(self.its_captions, counts=num_captions, digest=digest))
        return Catalog(videos, _first("captions", self.caption_rows, num_captions))

    def digest(self) -> str:
        """The sha256 of all rows, in order."""
        content = hashlib.sha256()
        for rows in (self.video_rows, self.caption_rows):
            for table in rows.parts():  # of 65,536 rows: of other sizes, it would be another digest
                for values in table.to_pydict().values():
                    content.update(json.dumps(values).encode())
        return content.hexdigest()

    def equals(self, other: Catalog) -> bool:
        """Whether both have the same rows in the same order."""
        return self.video_rows.equals(other.video_rows) and self.caption_rows.equals(other.caption_rows)

    def captions_digest(self, shard: Shard) -> str:
        """The sha256 of the captions of a shard of captions, with their ids."""
        self._check_split(shard.split)
        rows = self.caption_rows.of(shard.split, shard.start, shard.stop)
        texts = [text for name in ("caption_id", "text") for text in rows[name].to_pylist()]
        return hashlib.sha256(json.dumps(texts).encode()).hexdigest()

    def captions_of_each(self, split: str) -> NDArray[np.int64]:
        """How many captions each video of a split has, shape (num_videos,).

        Captions of other videos come last, where a run was killed that had written the captions of a store that grows,
        and not yet its videos. They do not count.
        """
        counts = np.zeros(self.video_rows.count(split), np.int64)
        tables = self.video_rows.parts(split, ("video_id",))
        rows = enumerate(video_id for table in tables for video_id in table["video_id"].to_pylist())
        # Captions are in the order of the videos, so both are gone through once, side by side.
        row, video_id = next(rows, (0, None))
        for table in self.caption_rows.parts(split, ("video_id",)):
            # The captions of a video are one run, or several where parts end within them.
            runs = pc.run_end_encode(table["video_id"].combine_chunks())
            lengths = np.diff(numbers_of(runs.run_ends), prepend=0).tolist()
            for its, length in zip(runs.values.to_pylist(), lengths, strict=True):
                while video_id != its:
                    row, video_id = next(rows, (0, None))
                    if video_id is None:
                        return counts
                counts[row] += length
        return counts

    def arranged(self, order: Mapping[str, NDArray[np.int64]]) -> Catalog:
        """Videos of this catalogue in another order, with their captions.

        Args:
            order: Split -> positions of its videos in the file of this catalogue, in the order of their rows.
        """
        counts, starts = self._captions_by_position()
        # So many videos that they, and on average their captions, are at most `TAKEN_AT_ONCE` rows.
        num_at_once = max(1, TAKEN_AT_ONCE * self.num_rows[0] // max(self.num_rows))
        cut = [
            (split, positions[start : start + num_at_once])
            for split, positions in order.items()
            for start in range(0, len(positions), num_at_once)
        ]
        captions = ((split, _spread(starts[positions], counts[positions])) for split, positions in cut)
        return Catalog(self.video_rows.taken(cut), self.caption_rows.taken(captions))

    def _captions_by_position(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """For each row of the file of videos, how many captions it has, and the first one's row in their file."""
        counts, starts = (np.zeros(self.video_rows.file.num_rows, np.int64) for _ in range(2))
        for split, span in self.video_rows.spans.items():
            of_each = self.captions_of_each(split)
            counts[span.start : span.stop] = of_each
            first = self.caption_rows.spans.get(split, range(0)).start
            # The sum of those before it, which is the sum up to it without its own.
            starts[span.start : span.stop] = first + np.cumsum(of_each) - of_each
        return counts, starts

    @cached_property
    def splits(self) -> tuple[str, ...]:
        """The splits, in the order of the catalogue."""
        return tuple(self.video_rows.spans)

    def video_ids(self, split: str, start: int, stop: int) -> list[str]:
        """The ids of the videos of the rows `[start, stop)` of a split."""
        self._check_split(split)
        ids: list[str] = self.video_rows.of(split, start, stop)["video_id"].to_pylist()
        return ids

    def shard_videos(self, shard: Shard) -> tuple[Video, ...]:
        """The videos of one shard, in row order."""
        self._check_split(shard.split)
        rows = self.video_rows.of(shard.split, shard.start, shard.stop)
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
        return _by_split(self.videos, self.video_rows)

    @cached_property
    def _caption_slices(self) -> Mapping[str, pa.Table]:
        return _by_split(self.captions, self.caption_rows)

    def _check_split(self, split: str) -> None:
        if split not in self.splits:
            raise NotInStoreError(f"no split {split!r} here: the store has {', '.join(map(repr, self.splits))}")


def _first(what: str, rows: CatalogRows, counts: Mapping[str, int]) -> CatalogRows:
    """The first rows of each split, as many as are counted."""
    for split, count in counts.items():
        if rows.count(split) < count:
            raise StoreFormatError(
                f"the catalogue's number of {what} of split {split!r} is {rows.count(split)}, and that of store.json "
                f"is {count}: {REBUILD_CATALOG}"
            )
    return rows.first(counts)


def read_videos(folder: StoreFolder) -> CatalogRows:
    """The one file of `Catalog.read`; errors are the same."""
    return CatalogRows.checked(_whole(folder, VIDEOS_NAME), f"{folder.place}/{VIDEOS_NAME}", _VIDEOS)


def read_captions(folder: StoreFolder) -> CatalogRows:
    """The other file of `Catalog.read`; errors are the same."""
    return CatalogRows.checked(_whole(folder, CAPTIONS_NAME), f"{folder.place}/{CAPTIONS_NAME}", _CAPTIONS)


def half_way(folder: StoreFolder) -> str:
    """What is wrong with a store in which a run was killed while it updated captions, and what to do."""
    return f"{folder.place} was left half-way through an update of its captions: {PREPROCESS_AGAIN}"


def _whole(folder: StoreFolder, name: str) -> bytes:
    """One of the two files, whose every bit is what was written."""
    path = f"{folder.place}/{name}"
    try:
        content = folder.read(name)
    except StoreMissingError as error:
        raise StoreMissingError(f"{path} is missing: {REBUILD_CATALOG}") from error
    check_sealed(content, path, REBUILD_CATALOG)
    return content


def _by_split(table: pa.Table, rows: CatalogRows) -> dict[str, pa.Table]:
    """Split -> its rows, which are consecutive: slices that share the table's memory."""
    slices, start = {}, 0
    for split in rows.spans:
        slices[split] = table.slice(start, rows.count(split))
        start += rows.count(split)
    return slices


def _tables(rows: Iterable[Video] | Iterable[Caption], schema: pa.Schema) -> Iterator[pa.Table]:
    """Rows as tables: as Python objects, millions of them would take gigabytes."""
    waiting = iter(rows)
    while batch := list(islice(waiting, GROUP_ROWS)):
        yield table_of({name: [getattr(row, name) for row in batch] for name in schema.names}, schema)


def _spread(starts: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """The numbers of runs of consecutive ones.

    >>> _spread(np.array([5, 0]), np.array([2, 3])).tolist()
    [5, 6, 0, 1, 2]
    """
    return np.repeat(starts - (np.cumsum(counts) - counts), counts) + np.arange(counts.sum())
