"""A store as an analyst sees it: read-only, tables as Arrow, arrays as NumPy, rows by id. Needs no torch.

>>> view = open_store("STORE")                                   # doctest: +SKIP
>>> view.videos("test").to_pandas()                              # doctest: +SKIP
>>> view.frames("video7").shape                                  # doctest: +SKIP
(12, 224, 224, 3)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import index
from os import PathLike
from typing import Any, SupportsIndex, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from store.arrays.reading import ChunkReader, read_shard
from store.arrays.shards import ArraySpec
from store.clips.layout import Masks, as_masks, frame_index_spec, frames_spec, pts_spec
from store.clips.mask_sets import mask_set_names, stored_masks_spec
from store.commits import CommitRecord, read_commit
from store.completion import require_committed_of_each
from store.errors import NotInStoreError, ShardDamagedError, ShardIncompleteError
from store.failures import failures_table
from store.features import Features, feature_names, num_videos_expected, read_features, read_frame_features
from store.formats.columns import integers
from store.json_values import JSON
from store.schema import Shard, SplitLayout
from store.stages import FRAMES_STAGE, masks_stage
from store.store import Store

Which: TypeAlias = "str | SupportsIndex | Iterable[str] | Iterable[SupportsIndex]"
"""One video or caption, or several: by id, or by row within a split. A column of an Arrow table will do."""


@dataclass(frozen=True, slots=True)
class Similarities:
    """Cosines of captions and videos."""

    matrix: NDArray[np.float32]
    """Shape (num_captions, num_videos)."""
    caption_ids: tuple[str, ...]
    """Of the rows."""
    video_ids: tuple[str, ...]
    """Of the columns."""
    truth: NDArray[np.int64]
    """Shape (num_captions,): the column of the video that each caption describes; -1 if it is not among them."""


@dataclass(frozen=True)
class StoreView:
    """A store, open for reading. It changes nothing, and claims nothing.

    Videos and captions are named by their ids, or by rows within a split: `view.frames("video7")`,
    `view.frames(["video7", "video9"])`, `view.frames([0, 1], split="test")`. One name gives one array; several give an
    array with one more axis in front, in the order of the names.
    """

    store: Store

    def __repr__(self) -> str:
        """Where it is, and how many videos each split has."""
        splits = ", ".join(f"{split}: {layout.num_videos:,}" for split, layout in self.splits.items())
        return f"<store at {self.place} ({splits})>"

    @property
    def place(self) -> str:
        """Where it is."""
        return self.store.place

    @property
    def splits(self) -> Mapping[str, SplitLayout]:
        """Split -> how many videos and captions it has, and the shape of a clip."""
        return self.store.manifest.splits

    @property
    def options(self) -> Mapping[str, JSON]:
        """The options that made the frames."""
        return self.store.manifest.options

    def mask_names(self) -> tuple[str, ...]:
        """The mask sets, complete or not."""
        return mask_set_names(self.store)

    def feature_names(self, split: str = "test") -> tuple[str, ...]:
        """The feature sets of a split, complete or not.

        Raises:
            NotInStoreError: There is no such split.
        """
        self.store.layout(split)
        return feature_names(self.store, split)

    def videos(self, split: str | None = None) -> pa.Table:
        """Columns video_id, split, row, path, start_seconds, end_seconds, category; one row a video, in array order.

        `.to_pandas()` and `polars.from_arrow(...)` make data frames of it.

        Raises:
            NotInStoreError: There is no such split.
        """
        catalog = self.store.catalog
        return catalog.videos if split is None else catalog.split_videos(split)

    def captions(self, split: str | None = None) -> pa.Table:
        """Columns caption_id, video_id, split, row, text; one row a caption, in the order of text features.

        Raises:
            NotInStoreError: There is no such split.
        """
        catalog = self.store.catalog
        return catalog.captions if split is None else catalog.split_captions(split)

    def failures(self) -> pa.Table:
        """Columns split, row, video_id, status, reason, source_bytes; one row a failed video.

        Raises:
            StoreMissingError: No run of `fda preprocess` or `fda finalise` has ended yet.
        """
        return failures_table(self.store.folder)

    def num_videos_expected(self, split: str) -> int:
        """Videos that a split should have: as many as are published, if fewer came into the store.

        Raises:
            NotInStoreError: There is no such split.
        """
        return num_videos_expected(self.store, split)

    def frames(self, which: Which, *, split: str | None = None) -> NDArray[np.uint8]:
        """Frames of videos, RGB: shape (num_frames, height, width, 3), or (num_videos, ...) for several.

        Raises:
            NotInStoreError: There is no such video, or it failed; the message has its status and reason.
            ShardIncompleteError: Its shard is pending.
            ShardDamagedError: The bytes are not those that were written.
        """
        frames = self._clips(which, split, FRAMES_STAGE, frames_spec)
        return np.asarray(frames, dtype=np.uint8)

    def masks(self, which: Which, name: str = "default", *, split: str | None = None) -> Masks:
        """Masks of videos: shape (num_frames, height, width), or (num_videos, ...).

        bool, True where something moves; of a soft mask set uint8, how likely it moves, 0..255.

        Errors are those of `frames`, and NotInStoreError if there is no such mask set.
        """
        stored_masks_spec(self.store, self._video_rows(which, split).split, name)  # refuse a name that is none
        masks = self._clips(which, split, masks_stage(name), lambda store, its: stored_masks_spec(store, its, name))
        return as_masks(masks)

    def pts_seconds(self, which: Which, *, split: str | None = None) -> NDArray[np.float64]:
        """When each frame is shown, seconds: shape (num_frames,), or (num_videos, num_frames); NaN for no frame.

        Errors are those of `frames`.
        """
        return np.asarray(self._per_frame(which, split, pts_spec), dtype=np.float64)

    def frame_index(self, which: Which, *, split: str | None = None) -> NDArray[np.int64]:
        """Position of each frame in presentation order, from 0: shapes as of `pts_seconds`; -1 for no frame.

        Errors are those of `frames`.
        """
        return np.asarray(self._per_frame(which, split, frame_index_spec), dtype=np.int64)

    def features(self, name: str, split: str = "test") -> Features:
        """A whole feature set of a split: embeddings of videos and captions, with their ids and what made them.

        Raises:
            NotInStoreError: There is none of this name.
            ShardIncompleteError: It is not complete, or out of date.
        """
        return read_features(self.store, name, split)

    def video_features(self, name: str, which: Which, *, split: str | None = None) -> NDArray[np.float32]:
        """Embeddings of videos, unit norm: shape (dim,), or (num_videos, dim). Errors as of `features`."""
        rows = self._video_rows(which, split)
        found = self.features(name, rows.split)
        ids = self.videos(rows.split)["video_id"].take(integers(rows.rows)).to_pylist()
        return rows.shaped(found.video[_positions(found.video_ids, ids, "video", name)])

    def frame_features(self, name: str, which: Which, *, split: str | None = None) -> NDArray[np.float32]:
        """Embeddings of frames, not normalised: shape (num_frames, dim), or (num_videos, num_frames, dim).

        NaN for a slot without a frame. Errors as of `features`.
        """
        rows = self._video_rows(which, split)
        video_ids, frame = read_frame_features(self.store, name, rows.split)
        ids = self.videos(rows.split)["video_id"].take(integers(rows.rows)).to_pylist()
        return rows.shaped(frame[_positions(video_ids, ids, "video", name)])

    def text_features(self, name: str, which: Which, *, split: str | None = None) -> NDArray[np.float32]:
        """Embeddings of captions, unit norm: shape (dim,), or (num_captions, dim). Errors as of `features`."""
        rows = self._caption_rows(which, split)
        found = self.features(name, rows.split)
        ids = self.captions(rows.split)["caption_id"].take(integers(rows.rows)).to_pylist()
        return rows.shaped(found.text[_positions(found.caption_ids, ids, "caption", name)])

    def similarities(
        self,
        name: str,
        split: str = "test",
        *,
        captions: str | Iterable[str] | None = None,
        videos: str | Iterable[str] | None = None,
    ) -> Similarities:
        """Cosines of captions (rows) and videos (columns): of all that have features, or of those named.

        Errors are those of `features`, and NotInStoreError for an id without features.
        """
        found = self.features(name, split)
        rows = _chosen(found.caption_ids, captions, "caption", name)
        columns = _chosen(found.video_ids, videos, "video", name)
        # Position among all videos -> column; -1 for videos that were not named.
        place = np.full(len(found.video_ids), -1, dtype=np.int64)
        place[columns] = np.arange(len(columns))
        return Similarities(
            matrix=found.text[rows] @ found.video[columns].T,
            caption_ids=tuple(found.caption_ids[row] for row in rows),
            video_ids=tuple(found.video_ids[column] for column in columns),
            truth=place[found.truth[rows]],
        )

    @cached_property
    def _videos_by_id(self) -> Mapping[str, tuple[str, int]]:
        return _by_id(self.store.catalog.videos, "video_id")

    @cached_property
    def _captions_by_id(self) -> Mapping[str, tuple[str, int]]:
        return _by_id(self.store.catalog.captions, "caption_id")

    def _video_rows(self, which: Which, split: str | None) -> _Rows:
        return _rows_of(which, split, self._videos_by_id, "video", self.store)

    def _caption_rows(self, which: Which, split: str | None) -> _Rows:
        return _rows_of(which, split, self._captions_by_id, "caption", self.store)

    def _clips(
        self, which: Which, split: str | None, stage: str, spec_of: Callable[[Store, str], ArraySpec]
    ) -> NDArray[np.generic]:
        """Rows of an array that has one chunk a video."""
        rows = self._video_rows(which, split)
        records = self._records(rows, stage)
        try:
            # (videos, 1, frames, ...) -> (videos, frames, ...): a chunk has one video.
            values = ChunkReader(self.store.folder, spec_of(self.store, rows.split)).read(rows.rows)[:, 0]
        except ShardDamagedError:
            self._check_unchanged(records, stage)  # masks may have been rebuilt as soft ones, which decode otherwise
            raise
        self._check_unchanged(records, stage)
        return rows.shaped(values)

    def _per_frame(
        self, which: Which, split: str | None, spec_of: Callable[[Store, str], ArraySpec]
    ) -> NDArray[np.generic]:
        """Rows of an array that has one chunk a shard."""
        rows = self._video_rows(which, split)
        records = self._records(rows, FRAMES_STAGE)
        spec, size = spec_of(self.store, rows.split), self.store.manifest.shard_size
        read = {shard.index: read_shard(self.store.folder, spec, shard) for shard in records}
        self._check_unchanged(records, FRAMES_STAGE)
        values = [read[row // size][row % size] for row in rows.rows]
        return rows.shaped(np.stack(values) if values else np.empty((0, *spec.item_shape), dtype=spec.dtype))

    def _records(self, rows: _Rows, stage: str) -> dict[Shard, CommitRecord]:
        """The commit records of the shards that some videos are in; refuses videos that failed."""
        size, shards = self.store.manifest.shard_size, self.store.shards(rows.split)
        wanted = [shards[index] for index in sorted({row // size for row in rows.rows})]
        records = {shard: record for shard, (record,) in require_committed_of_each(self.store, wanted, [stage])}
        outcomes = {outcome.row: outcome for record in records.values() for outcome in record.outcomes}
        for row in rows.rows:
            if not outcomes[row].filled:
                failed = outcomes[row]
                reason = f"{failed.status}: {failed.reason}" if failed.reason else str(failed.status)
                raise NotInStoreError(f"video {failed.video_id!r} of {self.place} failed ({reason})")
        return records

    def _check_unchanged(self, records: Mapping[Shard, CommitRecord], stage: str) -> None:
        """Refuse what was read if another run rebuilt the shard meanwhile: half of it may be of the new one."""
        for shard, record in records.items():
            now = read_commit(self.store.folder, shard, stage, with_outcomes=False)
            if now is None or now.files != record.files:
                raise ShardIncompleteError(
                    f"shard {shard.key} of {self.place} was rebuilt while it was read: try again"
                )


def open_store(place: str | PathLike[str]) -> StoreView:
    """Open a store for reading.

    Args:
        place: A folder, or `s3://bucket/prefix`.

    Raises:
        StoreMissingError: There is none.
        StoreFormatError: Another version made it, or it is damaged.
    """
    return StoreView(Store.open(place))


@dataclass(frozen=True, slots=True)
class _Rows:
    """Rows of one split, and whether one was asked for or several."""

    split: str
    rows: tuple[int, ...]
    is_single: bool

    def shaped(self, values: NDArray[np.generic]) -> NDArray:  # type: ignore[type-arg]
        """Without the first axis, if one was asked for."""
        return values[0] if self.is_single else values


def _rows_of(which: Which, split: str | None, by_id: Mapping[str, tuple[str, int]], kind: str, store: Store) -> _Rows:
    is_single = isinstance(which, str) or not isinstance(which, Iterable)
    names: Iterable[Any] = which if isinstance(which, Iterable) and not isinstance(which, str) else [which]
    found: list[tuple[str, int]] = []
    for name in names:
        key = name.as_py() if isinstance(name, pa.Scalar) else name
        if not isinstance(key, str):
            # `index` takes integers of NumPy, and refuses 1.0.
            found.append(_checked_row(index(key), split, kind, store))
        elif key not in by_id:
            raise NotInStoreError(f"no {kind} {key!r} in {store.place}")
        else:
            found.append(by_id[key])
    splits = {its for its, _ in found} | ({split} if split is not None else set())
    if len(splits) > 1:
        raise NotInStoreError(
            f"these are in several splits ({', '.join(map(repr, sorted(splits)))}), whose clips may differ in shape: "
            f"ask for those of one split at a time"
        )
    if not splits:
        raise NotInStoreError(f"no {kind} was named: give a split to get an empty result")
    (only,) = splits
    # A split that was only given, for no names, may not exist.
    store.layout(only)
    return _Rows(only, tuple(row for _, row in found), is_single)


def _checked_row(row: int, split: str | None, kind: str, store: Store) -> tuple[str, int]:
    if split is None:
        raise NotInStoreError(f"row {row} of which split? Give split=, or name {kind}s by their ids")
    layout = store.layout(split)
    count = layout.num_videos if kind == "video" else layout.num_captions
    if not 0 <= row < count:
        raise NotInStoreError(f"no row {row} in split {split!r}: it has {count} {kind}s, from row 0")
    return split, row


def _by_id(table: pa.Table, column: str) -> dict[str, tuple[str, int]]:
    ids, splits, rows = (table[name].to_pylist() for name in (column, "split", "row"))
    return {name: (split, row) for name, split, row in zip(ids, splits, rows, strict=True)}


def _positions(known: Sequence[str], wanted: Sequence[str], kind: str, features: str) -> list[int]:
    """Where ids are among those that have features."""
    index = {name: position for position, name in enumerate(known)}
    for name in wanted:
        if name not in index:
            raise NotInStoreError(f"{kind} {name!r} has no features {features!r}: its video failed, or it is none")
    return [index[name] for name in wanted]


def _chosen(known: Sequence[str], wanted: Iterable[str] | None, kind: str, features: str) -> list[int]:
    if wanted is None:
        return list(range(len(known)))
    names: Iterable[Any] = [wanted] if isinstance(wanted, str) else wanted
    ids = [name.as_py() if isinstance(name, pa.Scalar) else name for name in names]
    return _positions(known, ids, kind, features)
