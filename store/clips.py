"""Frames and masks of a store: their arrays, and how a shard of them is written and read."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from store.arrays import JSON, ArraySpec, ArrayValues, create_array, open_array, write_shard
from store.chunks import ChunkReader
from store.commits import CommitRecord, VideoOutcome, commit_name, commit_shard, committed, file_digest, read_commit
from store.errors import NotInStoreError, ShardIncompleteError
from store.files import check_name
from store.schema import Shard
from store.store import Store

FRAMES_STAGE = "frames"


@dataclass(frozen=True, slots=True)
class ShardFrames:
    """The frames of one shard, each with the time at which it is shown."""

    frames: NDArray[np.uint8]
    """Shape (num_videos, num_frames, height, width, 3), RGB; zero where no video filled the slot."""
    pts_seconds: NDArray[np.float64]
    """Shape (num_videos, num_frames); NaN where no video filled the slot."""
    frame_index: NDArray[np.int64]
    """Shape (num_videos, num_frames): position in presentation order; -1 where no video filled the slot."""

    def __post_init__(self) -> None:
        if not self.frames.shape[:2] == self.pts_seconds.shape == self.frame_index.shape:
            raise ValueError(
                f"frames {self.frames.shape}, pts_seconds {self.pts_seconds.shape} and frame_index "
                f"{self.frame_index.shape} do not agree on (num_videos, num_frames)"
            )


@dataclass(frozen=True, slots=True)
class ClipBatch:
    """The clips of some rows that hold a video, with masks."""

    video_ids: tuple[str, ...]
    rows: NDArray[np.int64]
    """Shape (num_clips,)."""
    frames: NDArray[np.uint8]
    """Shape (num_clips, num_frames, height, width, 3), RGB."""
    masks: NDArray[np.bool_]
    """Shape (num_clips, num_frames, height, width); True where something moves."""


def masks_stage(name: str) -> str:
    """The stage that makes the mask set `name`."""
    return f"masks/{name}"


def create_clip_arrays(store: Store, attributes: Mapping[str, JSON]) -> None:
    """Make the arrays of frames and times of every split, unless they stand."""
    for split in store.manifest.splits:
        for spec in _frames_specs(store, split):
            create_array(store.folder, spec, attributes)


def create_mask_arrays(store: Store, name: str, attributes: Mapping[str, JSON]) -> None:
    """Make the arrays of a mask set, unless they stand.

    Raises:
        StoreMismatchError: A mask set of this name was made with other options.
    """
    check_name("mask set", name)
    for split in store.manifest.splits:
        create_array(store.folder, _masks_spec(store, split, name), attributes)


def write_frames(store: Store, shard: Shard, clips: ShardFrames, outcomes: Sequence[VideoOutcome]) -> CommitRecord:
    """Write and commit the frames of a shard."""
    arrays: tuple[ArrayValues, ...] = (clips.frames, clips.pts_seconds, clips.frame_index)
    files = [
        write_shard(store.folder, spec, shard, values)
        for spec, values in zip(_frames_specs(store, shard.split), arrays, strict=True)
    ]
    return commit_shard(store.folder, shard, FRAMES_STAGE, outcomes, files, {})


def write_masks(
    store: Store, shard: Shard, name: str, masks: NDArray[np.bool_], outcomes: Sequence[VideoOutcome]
) -> CommitRecord:
    """Write and commit a mask set's part of a shard, whose frames are committed."""
    file = write_shard(store.folder, _masks_spec(store, shard.split, name), shard, masks)
    return commit_shard(
        store.folder, shard, masks_stage(name), outcomes, [file], input_digests(store, shard, [FRAMES_STAGE])
    )


def read_frames(store: Store, shard: Shard) -> ShardFrames:
    """All frames of a shard, with their times."""
    frames, pts_seconds, frame_index = (
        open_array(store.folder, spec.name)[shard.start : shard.stop] for spec in _frames_specs(store, shard.split)
    )
    return ShardFrames(np.asarray(frames), np.asarray(pts_seconds), np.asarray(frame_index))


def outcomes_of(store: Store, shard: Shard, stage: str = FRAMES_STAGE) -> tuple[VideoOutcome, ...]:
    """How each video of a shard fared.

    Raises:
        ShardIncompleteError: The shard has not been committed.
    """
    record = read_commit(store.folder, shard, stage)
    if record is None:
        raise ShardIncompleteError(
            f"shard {shard.key} of {store.folder.root} has no {stage} yet: run its `fda preprocess` to the end"
        )
    return record.outcomes


def require_committed(store: Store, shard: Shard, stage: str) -> CommitRecord:
    """The record of a shard whose data stand, made from inputs that have not changed since.

    Raises:
        ShardIncompleteError: It is not so.
    """
    record = committed(store.folder, shard, stage)
    if record is None:
        raise ShardIncompleteError(
            f"shard {shard.key} of {store.folder.root} has no {stage} yet, has lost some, or has some that are older "
            "than what they were made from: run its `fda preprocess` to the end"
        )
    return record


def input_digests(store: Store, shard: Shard, stages: Sequence[str]) -> dict[str, str]:
    """Name -> sha256 of the records that a stage builds upon.

    Raises:
        ShardIncompleteError: One of them has not been committed.
    """
    names = [commit_name(shard, stage) for stage in stages]
    digests = {name: file_digest(store.folder, name) for name in names}
    missing = [name for name, digest in digests.items() if digest is None]
    if missing:
        raise ShardIncompleteError(f"{store.folder.root} has no {missing[0]} yet: run its `fda preprocess` to the end")
    return {name: digest for name, digest in digests.items() if digest is not None}


class ClipReader:
    """Reads clips of one split by row, each with its masks."""

    def __init__(self, store: Store, split: str, mask_name: str) -> None:
        """Open the arrays, and find the rows that hold a video.

        Raises:
            NotInStoreError: There is no such split or mask set.
            ShardIncompleteError: A shard has not been committed, has lost data, or has masks of other frames.
        """
        self.split = split
        mask_attributes(store, split, mask_name)  # there is such a mask set
        self._frames = ChunkReader(store.folder, _frames_specs(store, split)[0])
        self._masks = ChunkReader(store.folder, _masks_spec(store, split, mask_name))
        records = [
            require_committed(store, shard, stage)
            for shard in store.shards(split)
            for stage in (FRAMES_STAGE, masks_stage(mask_name))
        ]
        outcomes = [outcome for record in records for outcome in record.outcomes if outcome.filled]
        self.video_ids = {outcome.row: outcome.video_id for outcome in outcomes}
        """Row -> id, of the rows that hold a video."""

    def read(self, rows: Sequence[int]) -> ClipBatch:
        """Read clips, in the order given.

        Raises:
            NotInStoreError: A row holds no video.
        """
        self._check_filled(rows)
        video_ids = tuple(self.video_ids[row] for row in rows)
        return ClipBatch(video_ids, np.asarray(rows, dtype=np.int64), self._frames.read(rows), self.read_masks(rows))

    def read_masks(self, rows: Sequence[int]) -> NDArray[np.bool_]:
        """Read masks alone, shape (len(rows), num_frames, height, width).

        Raises:
            NotInStoreError: A row holds no video.
        """
        self._check_filled(rows)
        return self._masks.read(rows).view(np.bool_)

    def _check_filled(self, rows: Sequence[int]) -> None:
        unfilled = [row for row in rows if row not in self.video_ids]
        if unfilled:
            raise NotInStoreError(f"row {unfilled[0]} of split {self.split!r} holds no video")


def mask_attributes(store: Store, split: str, name: str) -> dict[str, JSON]:
    """What made a mask set.

    Raises:
        NotInStoreError: There is no such split or mask set.
    """
    store.layout(split)
    store.layout(split)
    if store.folder.num_bytes(f"{_clips_name(split, f'masks/{name}')}/zarr.json") is None:
        there = sorted(path.parent.name for path in store.folder.path(_clips_name(split, "masks")).glob("*/zarr.json"))
        raise NotInStoreError(
            f"no masks {name!r} for split {split!r} in {store.folder.root}: there are {', '.join(map(repr, there))}"
        )
    return dict(open_array(store.folder, _clips_name(split, f"masks/{name}")).attrs)


def slot_checksum(values: ArrayValues) -> str:
    """The sha256 of one video's slot, C order."""
    return hashlib.sha256(np.ascontiguousarray(values).data).hexdigest()


def _clips_name(split: str, array: str) -> str:
    return f"clips.zarr/{split}/{array}"


def _frames_specs(store: Store, split: str) -> tuple[ArraySpec, ArraySpec, ArraySpec]:
    layout = store.layout(split)
    num_videos, rows = store.layout(split).num_videos, store.manifest.shard_size
    picture = (layout.num_frames, layout.height, layout.width)
    frame_axes = ("video", "frame")
    return (
        ArraySpec(
            name=_clips_name(split, "frames"),
            num_rows=num_videos,
            item_shape=(*picture, 3),
            dtype="uint8",
            fill_value=0,
            shard_rows=rows,
            chunk_rows=1,
            dimensions=(*frame_axes, "height", "width", "channel"),
        ),
        ArraySpec(
            name=_clips_name(split, "pts_seconds"),
            num_rows=num_videos,
            item_shape=(layout.num_frames,),
            dtype="float64",
            fill_value=np.nan,
            shard_rows=rows,
            chunk_rows=1,
            dimensions=frame_axes,
        ),
        ArraySpec(
            name=_clips_name(split, "frame_index"),
            num_rows=num_videos,
            item_shape=(layout.num_frames,),
            dtype="int64",
            fill_value=-1,
            shard_rows=rows,
            chunk_rows=1,
            dimensions=frame_axes,
        ),
    )


def _masks_spec(store: Store, split: str, name: str) -> ArraySpec:
    layout = store.layout(split)
    return ArraySpec(
        name=_clips_name(split, f"masks/{name}"),
        num_rows=store.layout(split).num_videos,
        item_shape=(layout.num_frames, layout.height, layout.width),
        dtype="bool",
        fill_value=False,
        shard_rows=store.manifest.shard_size,
        chunk_rows=1,
        dimensions=("video", "frame", "height", "width"),
        compress=True,
    )
