"""The vectors of one feature set in one split of one store, with the ids of their videos and captions."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.run.events import ItemsDone, Listener, RunPlanned, ignore_events
from pipeline.search.coarse import Coarse
from pipeline.search.filters import Facts
from pipeline.search.options import Filters
from store.arrays.reading import read_shard
from store.clips.layout import pts_spec
from store.completion import map_many
from store.errors import StoreError
from store.features import features_made_with
from store.formats.columns import integers, numbers_of
from store.json_values import JSON
from store.open_features import OpenFeatures
from store.schema import Shard
from store.stages import masks_stage
from store.view import StoreView

_Value = TypeVar("_Value")
_Array = TypeVar("_Array", bound=NDArray[Any])

BLOCK_ROWS = 4096
"""Rows that are worked on at a time."""
VIDEOS_COPIED = 65_536
"""Whose vectors are in memory while they are copied: with 512 numbers each, 128 MiB."""


class _Once(Generic[_Value]):
    """A property that is computed when it is first needed, once, whichever threads ask: it may be gigabytes."""

    def __init__(self, compute: Callable[[Any], _Value]) -> None:
        self._compute = compute
        self.__doc__ = compute.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, instance: None, owner: type) -> _Once[_Value]: ...
    @overload
    def __get__(self, instance: Any, owner: type) -> _Value: ...
    def __get__(self, instance: Any, owner: type) -> _Once[_Value] | _Value:
        if instance is None:
            return self
        # Reentrant, as one property needs others. A second thread waits here, and then finds the value.
        with instance.lock:
            if self._name not in instance.__dict__:
                # Written past `__setattr__`, which frozen dataclasses refuse.
                instance.__dict__[self._name] = self._compute(instance)
            value: _Value = instance.__dict__[self._name]
            return value


@dataclass(frozen=True)
class SplitVectors:
    """The vectors of a split, each part read when it is first needed: videos that have features, and their captions.

    Rows of `video` and places in `video_ids` are positions, by which the whole index names videos.
    """

    view: StoreView
    opened: OpenFeatures
    listener: Listener = ignore_events
    """Hears how much has been read."""
    lock: threading.RLock = field(default_factory=threading.RLock, repr=False)

    @property
    def attributes(self) -> Mapping[str, JSON]:
        """What made the features."""
        return self.opened.made_with

    @_Once
    def _of_split(self) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Rows of the videos with features, and their vectors."""
        video = self.opened.video(_counted(self))
        # A video without features is NaN throughout.
        rows = np.flatnonzero(~np.isnan(video[:, 0]))
        return rows, _compacted(video, rows)

    @_Once
    def coarse(self) -> Coarse:
        """Copies for approximate search; they are made without the whole of `video` in memory."""
        store, opened = self.view.store, self.opened
        return Coarse.of(
            opened.video_parts(VIDEOS_COPIED, _counted(self)), store.layout(opened.split).num_videos, opened.dim
        )

    @property
    def rows(self) -> NDArray[np.int64]:
        """Shape (num_videos,): the row of each video in its split, ascending."""
        # An approximate search must not read all exact vectors only to know which rows there are.
        return self.coarse.rows if "coarse" in self.__dict__ else self._of_split[0]

    @property
    def video(self) -> NDArray[np.float32]:
        """Shape (num_videos, dim), unit rows."""
        return self._of_split[1]

    @_Once
    def video_ids(self) -> tuple[str, ...]:
        """The id of each video."""
        ids: list[str] = self.view.videos(self.opened.split)["video_id"].take(integers(self.rows)).to_pylist()
        return tuple(ids)

    @_Once
    def _captions_used(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows of the captions whose video has features, and the positions of these videos."""
        owners = self.view.captions(self.opened.split)["video_id"].combine_chunks()
        ids = self.view.videos(self.opened.split)["video_id"].combine_chunks()
        # For each caption the position of its video; null for a video without features.
        found = pc.index_in(owners, ids.take(integers(self.rows))).cast(pa.int64())
        owner_rows = numbers_of(found.fill_null(integers([-1])[0]))
        used = np.flatnonzero(owner_rows >= 0)
        return used, owner_rows[used]

    @property
    def caption_rows(self) -> NDArray[np.int64]:
        """Shape (num_captions,): the row of each caption in its split, ascending."""
        return self._captions_used[0]

    @property
    def truth(self) -> NDArray[np.int64]:
        """Shape (num_captions,): the position of the video that each caption describes."""
        return self._captions_used[1]

    @_Once
    def caption_ids(self) -> tuple[str, ...]:
        """The id of each caption."""
        ids = self.view.captions(self.opened.split)["caption_id"].take(integers(self.caption_rows)).to_pylist()
        return tuple(ids)

    @_Once
    def text(self) -> NDArray[np.float32]:
        """Shape (num_captions, dim), unit rows."""
        return _compacted(self.opened.text(), self.caption_rows)


@dataclass(frozen=True)
class SplitIndex:
    """One split of one feature set. What is read stays in memory; threads may share it."""

    view: StoreView
    features: str
    split: str
    listener: Listener = ignore_events
    """Hears how much has been read."""
    lock: threading.RLock = field(default_factory=threading.RLock, repr=False)

    @_Once
    def vectors(self) -> SplitVectors:
        """Of videos and captions; its errors are those of `OpenFeatures.open`, and of what is read of it later."""
        return SplitVectors(self.view, OpenFeatures.open(self.view.store, self.features, self.split), self.listener)

    @_Once
    def made_with(self) -> Mapping[str, JSON]:
        """What made the features, whether or not they are complete."""
        return features_made_with(self.view.store, self.features, self.split)

    @property
    def rows(self) -> NDArray[np.int64]:
        """Shape (num_videos,): the row of each video of `vectors` in its split."""
        return self.vectors.rows

    @_Once
    def stored_frames(self) -> NDArray[np.float32] | NDArray[np.float16]:
        """All frames of the videos of `vectors`, as they are stored: shape (num_videos, num_frames, dim)."""
        return _compacted(self.vectors.opened.all_frames(_counted(self.vectors)), self.rows)

    @_Once
    def frame_norms(self) -> NDArray[np.float32]:
        """Shape (num_videos, num_frames): the norm of each of `stored_frames`; NaN where there is no frame."""
        frames = self.stored_frames
        norms = np.empty(frames.shape[:2], np.float32)
        # In blocks: stored in half precision, all frames as float32 would take twice their memory again.
        for start in range(0, len(frames), BLOCK_ROWS // 8):
            block = frames[start : start + BLOCK_ROWS // 8].astype(np.float32, copy=False)
            norms[start : start + BLOCK_ROWS // 8] = np.sqrt(np.einsum("vfd,vfd->vf", block, block))
        # Frames that are not there are NaN or zeros. Divided by NaN they score NaN, which `np.fmax` passes over.
        norms[~(np.isfinite(norms) & (norms > 0))] = np.nan
        return norms

    def frames_of(self, positions: Sequence[int]) -> NDArray[np.float32]:
        """Frames of some videos as they are stored: shape (len(positions), num_frames, dim)."""
        if "stored_frames" in self.__dict__:
            return np.asarray(self.stored_frames[list(positions)], np.float32)
        return self.vectors.opened.frames(self.rows[list(positions)].tolist())

    @_Once
    def _shards(self) -> tuple[Shard, ...]:
        return self.view.store.shards(self.split)

    def times_of(self, positions: Sequence[int]) -> NDArray[np.float64]:
        """When the frames of some videos are shown, seconds: shape (len(positions), num_frames).

        NaN where there is no frame, or where its time is damaged or lost: that is no reason to find nothing.
        """
        store, spec, size = self.view.store, pts_spec(self.view.store, self.split), self.view.store.manifest.shard_size
        rows, shards = self.rows[list(positions)], self._shards

        def read(index: int) -> NDArray[np.float64]:
            try:
                return np.asarray(read_shard(store.folder, spec, shards[index]), np.float64)
            except StoreError:
                return np.full((shards[index].num_rows, *spec.item_shape), np.nan)

        # Each shard once: its times are in one small file.
        wanted = np.unique(rows // size).tolist()
        read_ones = dict(zip(wanted, map_many(store.folder, read, wanted), strict=True))
        times = [read_ones[row // size][row % size] for row in rows.tolist()]
        return np.stack(times) if times else np.empty((0, *spec.item_shape))

    def videos_of(self, positions: NDArray[np.int64]) -> NDArray[np.float32]:
        """The vectors of some videos: shape (len(positions), dim)."""
        if "_of_split" in self.vectors.__dict__:
            return self.vectors.video[positions]
        return self.vectors.opened.videos(self.rows[positions].tolist())

    def captions_of(self, positions: Sequence[int]) -> tuple[str, ...]:
        """The texts of some captions of `vectors`."""
        rows = self.vectors.caption_rows[list(positions)]
        texts: list[str] = self.view.captions(self.split)["text"].take(integers(rows)).to_pylist()
        return tuple(texts)

    @_Once
    def _first_captions(self) -> NDArray[np.int64]:
        """Position of a video -> position of its first caption; -1 without one."""
        first = np.full(len(self.rows), -1, np.int64)
        truth = self.vectors.truth
        # Backwards: of several captions of a video the one that is assigned last stays, which is the first.
        first[truth[::-1]] = np.arange(len(truth))[::-1]
        return first

    def first_captions_of(self, positions: Sequence[int]) -> tuple[str | None, ...]:
        """The text of the first caption of each of some videos; None for one without captions."""
        first = self._first_captions[list(positions)]
        texts = iter(self.captions_of(first[first >= 0].tolist()))
        return tuple(next(texts) if place >= 0 else None for place in first.tolist())

    @_Once
    def _facts(self) -> Facts:
        masks = self.vectors.attributes.get("masks")
        # Features without masks, or imported ones, name no mask set: motion is then that of the usual one.
        stage = masks_stage(str(masks["name"]) if isinstance(masks, dict) else "default")
        return Facts(self.view, self.split, stage)

    def candidates(self, filters: Filters) -> NDArray[np.bool_]:
        """Shape (num_videos,): which videos of `vectors` pass the filters."""
        if filters == Filters():
            return np.ones(len(self.rows), np.bool_)
        # `Facts` keeps what it reads in a dict, and has no lock of its own.
        with self.lock:
            return self._facts.passing(filters)[self.rows]


def _counted(vectors: SplitVectors) -> Callable[[int], None]:
    """Begin to report how many videos of a split have been read, and return what reports more."""
    num_videos, lock = vectors.view.splits[vectors.opened.split].num_videos, threading.Lock()
    vectors.listener(RunPlanned("videos", num_videos, 0))
    left = num_videos

    def tell(num_rows: int) -> None:
        nonlocal left
        with lock:  # threads read, and one bar is drawn
            left -= (now := min(num_rows, left))  # the last shard may be short
            vectors.listener(ItemsDone(now))

    return tell


def _compacted(values: _Array, rows: NDArray[np.int64]) -> _Array:
    """The rows of an array, moved to its beginning: a second array may be more than the memory holds.

    >>> _compacted(np.array([10, 11, 12, 13]), np.array([1, 3]))
    array([11, 13])
    """
    if len(rows) == len(values):
        return values
    for start in range(0, len(rows), BLOCK_ROWS):
        block = rows[start : start + BLOCK_ROWS]
        values[start : start + len(block)] = values[block]  # to the left, as rows ascend
    return values[: len(rows)]  # type: ignore[return-value]
