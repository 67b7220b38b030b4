"""The videos of some stores in one list, with what facets are made of."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.run.records import read_run
from store.arrays.reading import read_shard
from store.clips.layout import pts_spec
from store.commits import CommitRecord, VideoOutcome, commit_name
from store.completion import map_many
from store.errors import StoreError
from store.schema import Shard
from store.stages import FRAMES_STAGE, masks_stage
from store.view import StoreView

_T = TypeVar("_T")
_MANY = 2000
"""Videos whose commit records are not read while somebody waits for a page."""


@dataclass(frozen=True, slots=True)
class VideoKey:
    """A video among some stores."""

    store: int
    """Number of its store."""
    split: str
    row: int
    """In its split."""
    video_id: str


class Recent:
    """What was read in the last seconds: the videos of a page share shards. Threads share it."""

    SECONDS = 3.0

    def __init__(self) -> None:
        self._values: dict[object, Any] = {}
        self._since = time.monotonic()

    def get(self, key: object, read: Callable[[], _T]) -> _T:
        """What was read a moment ago, or is read now."""
        if time.monotonic() - self._since > self.SECONDS:
            # A new dict, not `clear()`: another thread may be between its look and its read below, and holds the old
            # one.
            self._values, self._since = {}, time.monotonic()
        values = self._values
        # Two threads may read the same thing at once: that costs time and harms nothing, where a lock would make all
        # wait.
        if key not in values:
            values[key] = read()
        found: _T = values[key]
        return found


@dataclass(frozen=True)
class Shelf:
    """One store."""

    number: int
    view: StoreView
    videos_folder: Path | None
    """Folder of the videos, if the user named one."""
    _recent: Recent = field(default_factory=lambda: Recent())

    @cached_property
    def roots(self) -> tuple[Path, ...]:
        """Folders in which videos may lie, the likeliest first."""
        if self.videos_folder is not None:
            return (self.videos_folder,)
        found: dict[Path, None] = {}
        for name in sorted(self.view.store.folder.names("runs"), reverse=True):
            try:
                record = read_run(self.view.store.folder, name)
            except StoreError:
                continue  # damaged: `fda status` reports it
            options = record.get("options")
            if record.get("command") != "preprocess" or not isinstance(options, dict):
                continue
            root, source = options.get("videos_root"), options.get("source")
            if isinstance(root, str):
                found[Path(root)] = None
            elif isinstance(source, str):  # recorded by an older version
                # Of a folder, or of the file that lists the videos: which one it was is not said.
                found[Path(source)] = found[Path(source).parent] = None
        return tuple(found)

    @cached_property
    def rows(self) -> dict[str, tuple[str, int]]:
        """Video id -> its split and row."""
        videos = self.view.videos()
        columns = (videos[name].to_pylist() for name in ("video_id", "split", "row"))
        return {video_id: (split, row) for video_id, split, row in zip(*columns, strict=True)}

    @cached_property
    def caption_videos(self) -> dict[str, str]:
        """Caption id -> its video's id."""
        captions = self.view.captions()
        return dict(zip(captions["caption_id"].to_pylist(), captions["video_id"].to_pylist(), strict=True))

    @cached_property
    def _caption_starts(self) -> dict[str, tuple[int, int]]:
        """Video id -> the first of its captions in the catalogue, and how many there are."""
        found: dict[str, tuple[int, int]] = {}
        for place, video_id in enumerate(self.view.captions()["video_id"].to_pylist()):
            start, count = found.get(video_id, (place, 0))
            found[video_id] = (start, count + 1)
        return found

    def captions_of(self, video_id: str, most: int | None = None) -> list[tuple[str, str]]:
        """Ids and texts of a video's captions, the first ones."""
        start, count = self._caption_starts.get(video_id, (0, 0))
        part = self.view.captions().slice(start, count if most is None else min(count, most))
        return list(zip(part["caption_id"].to_pylist(), part["text"].to_pylist(), strict=True))

    def num_captions_of(self, video_id: str) -> int:
        """How many captions a video has."""
        return self._caption_starts.get(video_id, (0, 0))[1]

    def key(self, video_id: str) -> VideoKey | None:
        """A video by its id; None if there is none."""
        found = self.rows.get(video_id)
        return None if found is None else VideoKey(self.number, *found, video_id)

    def record(self, key: VideoKey) -> dict[str, object]:
        """The row of the catalogue of a video."""
        (row,) = self.view.videos(key.split).slice(key.row, 1).to_pylist()
        return dict(row)

    def window(self, key: VideoKey) -> tuple[float, float | None]:
        """Start and end of a clip in its file, seconds; the end is None if it is that of the video."""
        record = self.record(key)
        return _number(record["start_seconds"]) or 0.0, _number(record["end_seconds"])

    def file(self, key: VideoKey) -> Path | None:
        """The file of a video, where its catalogue says it is; None if there is none."""
        place = PurePosixPath(str(self.record(key)["path"]))
        # `is_file` raises ValueError for a NUL.
        if place.is_absolute() or ".." in place.parts or "\0" in str(place):
            return None  # a catalogue that somebody made to read other files
        return next((path for root in self.roots if (path := root / place).is_file()), None)

    def where_looked(self, key: VideoKey) -> str:
        """Why there is no file of a video, for its viewer."""
        place = str(self.record(key)["path"])
        where = " or ".join(map(str, self.roots[:3])) or "any folder that a run has recorded"
        return (
            f"The file of this video is not there: {place} in {where}. What is shown is from the store. If the videos "
            "have moved, `fda serve --videos FOLDER` names their folder."
        )

    def shard_of(self, key: VideoKey) -> Shard:
        """The shard of a video."""
        size, count = self.view.store.manifest.shard_size, self.view.store.layout(key.split).num_videos
        index = key.row // size
        return Shard(key.split, index, index * size, min(count, (index + 1) * size))

    def outcome(self, key: VideoKey, stage: str = FRAMES_STAGE) -> VideoOutcome | None:
        """How a video ended in a stage; None if its shard is pending."""
        shard = self.shard_of(key)
        record = self._recent.get((shard, stage), lambda: _record_or_none(self.view, shard, stage))
        # Id and row: the shard may have been made again, of other videos, since the catalogue was read.
        return next((one for one in record or () if one.row == key.row and one.video_id == key.video_id), None)

    def pts_seconds(self, key: VideoKey) -> NDArray[np.float64]:
        """When each stored frame of a video is shown: shape (num_frames,), of those that exist."""
        shard = self.shard_of(key)
        try:
            values = self._recent.get(
                (shard, "pts"), lambda: read_shard(self.view.store.folder, pts_spec(self.view.store, key.split), shard)
            )
        except StoreError:
            return np.empty(0)
        times = np.asarray(values[key.row - shard.start], np.float64)
        # Slots that a short clip does not fill are NaN, after those that it does.
        return times[np.isfinite(times)]


@dataclass(frozen=True)
class Names:
    """One name a video, of a few."""

    names: tuple[str, ...]
    codes: NDArray[np.int64]
    """Shape (num_videos,): place in `names`; -1 for a video without one."""

    @classmethod
    def of(cls, columns: Sequence[pa.ChunkedArray]) -> Names:
        """The names of columns one after the other."""
        chunks = [chunk for column in columns for chunk in column.chunks]
        coded = pa.chunked_array(chunks, pa.string()).combine_chunks().dictionary_encode()
        codes = np.asarray(coded.indices.fill_null(-1), dtype=np.int64)
        return cls(tuple(coded.dictionary.to_pylist()), codes)

    def of_video(self, place: int) -> str:
        """The name of a video that has one."""
        return self.names[int(self.codes[place])]

    def have(self, names: Sequence[str]) -> NDArray[np.bool_]:
        """Shape (num_videos,): which videos have one of these names."""
        return np.isin(self.codes, [self.names.index(name) for name in names if name in self.names])

    def counts(self, passed: NDArray[np.bool_]) -> dict[str, int]:
        """How many videos have each name, of those that pass; names that none has are left out."""
        codes = self.codes[passed & (self.codes >= 0)]
        counts = np.bincount(codes, minlength=len(self.names)).tolist()
        return {name: count for name, count in zip(self.names, counts, strict=True) if count}


@dataclass(frozen=True)
class Library:
    """All videos of all stores, in the order of their catalogues."""

    shelves: tuple[Shelf, ...]

    @classmethod
    def of(cls, views: Sequence[StoreView], videos: Path | None = None) -> Library:
        """The videos of opened stores."""
        return cls(tuple(Shelf(number, view, videos) for number, view in enumerate(views)))

    def __len__(self) -> int:
        return len(self.ids)

    def key(self, place: int) -> VideoKey:
        """The video at a place of the list."""
        return VideoKey(
            int(self.stores[place]), self.splits.of_video(place), int(self.rows[place]), str(self.ids[place])
        )

    def find(self, store: int, video_id: str) -> VideoKey | None:
        """A video by the number of its store and its id."""
        return self.shelves[store].key(video_id) if 0 <= store < len(self.shelves) else None

    def anywhere(self, video_id: str) -> VideoKey | None:
        """A video of any store by its id."""
        found = (shelf.key(video_id) for shelf in self.shelves)
        return next((key for key in found if key is not None), None)

    @cached_property
    def _tables(self) -> list[pa.Table]:
        return [shelf.view.videos() for shelf in self.shelves]

    @cached_property
    def ids(self) -> NDArray[np.object_]:
        """Shape (num_videos,), like all below."""
        return self._column("video_id")

    @cached_property
    def rows(self) -> NDArray[np.object_]:
        """Row of each video in its split."""
        return self._column("row")

    @cached_property
    def splits(self) -> Names:
        """The split of each video."""
        return Names.of([table["split"] for table in self._tables])

    @cached_property
    def categories(self) -> Names:
        """The category of each video."""
        return Names.of([table["category"] for table in self._tables])

    @cached_property
    def stores(self) -> NDArray[np.int64]:
        """Number of each video's store."""
        return np.repeat(np.arange(len(self._tables)), [len(table) for table in self._tables])

    @property
    def is_measured(self) -> bool:
        """Whether durations, motion and cameras are known, or soon are."""
        return len(self) <= _MANY or "_measured" in self.__dict__

    @property
    def duration_seconds(self) -> NDArray[np.float64]:
        """NaN where it is not known, like all below."""
        return self._measured[0]

    @property
    def motion(self) -> NDArray[np.float64]:
        """Mean share of the picture that masks cover, 0..1."""
        return self._measured[1]

    @property
    def camera(self) -> NDArray[np.float64]:
        """1 if the camera moves, 0 if it rests."""
        return self._measured[2]

    def _column(self, name: str) -> NDArray[np.object_]:
        parts = [np.array(table[name].to_pylist(), dtype=object) for table in self._tables]
        return np.concatenate(parts) if parts else np.empty(0, object)

    @cached_property
    def _measured(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """What commit records say of each video."""
        values = np.full((3, len(self.ids)), np.nan)
        start = 0
        for shelf in self.shelves:
            for split, layout in shelf.view.splits.items():
                # A view: what is written into it is written into `values`. The catalogue has the splits in this order.
                part = values[:, start : start + layout.num_videos]
                start += layout.num_videos
                _read_outcomes(shelf.view, split, FRAMES_STAGE, {"duration_seconds": part[0]})
                # The first mask set alone, which is also the one that the player shows unless another is chosen.
                for name in shelf.view.mask_names()[:1]:
                    _read_outcomes(
                        shelf.view, split, masks_stage(name), {"mask_coverage": part[1], "camera_motion": part[2]}
                    )
        return values[0], values[1], values[2]


def _read_outcomes(view: StoreView, split: str, stage: str, into: dict[str, NDArray[np.float64]]) -> None:
    """Fill columns from the commit records of a stage; shards that are pending leave theirs as they are."""
    columns = ("video_id", "row", "status", "filled", *into)
    shards = view.store.shards(split)
    records = map_many(view.store.folder, lambda shard: _record_or_none(view, shard, stage, columns), shards)
    for outcomes in records:
        for outcome in outcomes or ():
            for name, column in into.items():
                value = getattr(outcome, name)
                # A store that grew since it was opened has rows beyond these.
                if value is not None and outcome.row < len(column):
                    column[outcome.row] = value


def _record_or_none(
    view: StoreView, shard: Shard, stage: str, columns: Sequence[str] | None = None
) -> tuple[VideoOutcome, ...] | None:
    name = commit_name(shard, stage)
    try:
        return CommitRecord.from_bytes(view.store.folder.read(name), name, columns).outcomes
    except StoreError:
        return None


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None
