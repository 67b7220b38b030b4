"""Frames and masks of a store: their arrays, and how a shard of them is written and read."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from store.arrays.codecs import codec_named
from store.arrays.reading import ChunkReader, read_content, read_shard
from store.arrays.shards import ArraySpec, ArrayValues, create_array, shard_content
from store.clips.layout import (
    Masks,
    frame_index_spec,
    frames_spec,
    masks_spec,
    next_grey_spec,
    no_neighbours,
    pts_spec,
)
from store.clips.mask_sets import mask_attributes, stored_masks_spec
from store.commits import CommitRecord, ShardDraft, VideoOutcome, commit_name, commit_shards, draft_shard
from store.completion import input_digests, kept_record
from store.errors import ShardDamagedError, ShardIncompleteError
from store.json_values import JSON
from store.names import check_name
from store.schema import Shard
from store.stages import FRAMES_STAGE, masks_stage
from store.store import Store


@dataclass(frozen=True, slots=True)
class ShardFrames:
    """The frames of one shard, each with the time at which it is shown.

    A slot that no video filled has no frame at all. A clip may have fewer frames than slots: its last slots are empty.
    """

    frames: NDArray[np.uint8]
    """Shape (num_videos, num_frames, height, width, 3), RGB; zero where there is no frame."""
    pts_seconds: NDArray[np.float64]
    """Shape (num_videos, num_frames); NaN where there is no frame."""
    frame_index: NDArray[np.int64]
    """Shape (num_videos, num_frames): position in presentation order; -1 where there is no frame."""
    next_grey: NDArray[np.uint8] | None = None
    """Shape (num_videos, num_frames, height, width): each frame's neighbour in the video, in grey; zero where there is
    no frame. None in a store without neighbours."""
    inputs: Mapping[str, str] = field(default_factory=dict)
    """For frames that come from a store: name -> sha256 of their commit record, taken when they were written, or before
    they were read. What is computed from them is out of date once that record has changed."""

    def __post_init__(self) -> None:
        if not self.frames.shape[:2] == self.pts_seconds.shape == self.frame_index.shape:
            raise ValueError(
                f"frames {self.frames.shape}, pts_seconds {self.pts_seconds.shape} and frame_index "
                f"{self.frame_index.shape} do not agree on (num_videos, num_frames)"
            )
        if self.next_grey is not None and self.next_grey.shape != self.frames.shape[:-1]:
            raise ValueError(
                f"frames {self.frames.shape} and next_grey {self.next_grey.shape} do not agree on "
                "(num_videos, num_frames, height, width)"
            )


@dataclass(frozen=True, slots=True)
class FramesDraft:
    """The frames of one shard as they are to be stored, or are."""

    clips: ShardFrames
    """As every reader gets them. With a lossy codec they differ a little from what was passed in. Masks are computed
    from these."""
    draft: ShardDraft
    """With a checksum of each slot as it is read back."""

    @property
    def record(self) -> CommitRecord:
        """Of the shard."""
        return self.draft.record


def create_clip_arrays(store: Store, attributes: Mapping[str, JSON]) -> None:
    """Create the arrays of frames and times of every split, unless they exist."""
    for split in store.manifest.splits:
        neighbours = [next_grey_spec(store, split)] if store.manifest.neighbours else []
        for spec in (frames_spec(store, split), pts_spec(store, split), frame_index_spec(store, split), *neighbours):
            create_array(store.folder, spec, attributes)


def create_mask_arrays(
    store: Store, name: str, attributes: Mapping[str, JSON], *, soft: bool = False, command: str = "fda masks"
) -> None:
    """Create the arrays of a mask set, of soft masks or of binary ones, unless they exist; `command` makes such a set.

    Raises:
        StoreMismatchError: A mask set of this name was made with other options.
    """
    check_name("mask set", name)
    for split in store.manifest.splits:
        remedy = (
            "Give these masks another name (--masks of `fda masks` and `fda preprocess`), or rebuild this mask "
            f"set, and nothing else, with `{command} --masks {name} --overwrite`"
        )
        create_array(store.folder, masks_spec(store, split, name, soft=soft), attributes, remedy)


def draft_frames(
    store: Store,
    shard: Shard,
    clips: ShardFrames,
    outcomes: Sequence[VideoOutcome],
    *,
    kept_rows: Collection[int] = (),
) -> FramesDraft:
    """The frames of a shard for `commit_shards`; with a `PENDING` video they will be written, and not committed.

    Args:
        store: The store.
        shard: Which rows.
        clips: The content of its slots.
        outcomes: One a video, in row order; this function adds the checksum of each filled slot.
        kept_rows: Rows whose frames were read from this very shard. They are stored byte for byte as they were.

    Raises:
        ValueError: The store has neighbours of frames and `clips` has none, or the other way round; or outcomes and
            `clips` disagree on which rows have a video.
    """
    split = shard.split
    if store.manifest.neighbours != (clips.next_grey is not None):
        raise ValueError(
            f"shard {shard.key}: the store {'needs' if store.manifest.neighbours else 'has no array for'} next_grey"
        )
    # Readers go by `filled` for whether a row has a video, and by the index for which of its slots have a frame.
    # `fda verify` compares checksums, not values, so the two must agree before they are written.
    has_frames = (clips.frame_index[:, 0] >= 0).tolist()
    if [outcome.filled for outcome in outcomes] != has_frames:
        raise ValueError(f"shard {shard.key}: outcomes and frame_index disagree on which rows have a video")
    contents: dict[str, bytes | None] = {}
    frames, next_grey = _pictures(store, frames_spec(store, split), shard, clips.frames, kept_rows, contents), None
    if clips.next_grey is not None:
        next_grey = _pictures(store, next_grey_spec(store, split), shard, clips.next_grey, kept_rows, contents)
    pts, index = pts_spec(store, split), frame_index_spec(store, split)
    contents[pts.shard_name(shard.index)] = shard_content(pts, shard, clips.pts_seconds)
    contents[index.shard_name(shard.index)] = shard_content(index, shard, clips.frame_index)
    checked = [
        replace(outcome, checksum=slot_checksum(frames[outcome.row - shard.start]) if outcome.filled else None)
        for outcome in outcomes
    ]
    draft = draft_shard(shard, FRAMES_STAGE, checked, contents, {}, keeps_record=True)
    return FramesDraft(replace(clips, frames=frames, next_grey=next_grey, inputs=draft.as_input), draft)


def _pictures(
    store: Store,
    spec: ArraySpec,
    shard: Shard,
    pictures: NDArray[np.uint8],
    kept_rows: Collection[int],
    contents: dict[str, bytes | None],
) -> NDArray[np.uint8]:
    """Add one shard of pictures to the contents, and return the pictures as a reader gets them."""
    reader = ChunkReader(store.folder, spec)
    # A chunk has one video: rows are chunks, and slots are chunks of the shard.
    stored = {row - shard.start: reader.stored(row) for row in kept_rows}
    kept = {slot: content for slot, content in stored.items() if content is not None}
    content = shard_content(spec, shard, pictures, kept)
    contents[spec.shard_name(shard.index)] = content
    # Readers get what was given, so nothing is decoded.
    if not codec_named(spec.codec).lossy:
        return pictures
    return np.asarray(read_content(store.folder, spec, shard, content), dtype=np.uint8)


def draft_masks(
    store: Store,
    shard: Shard,
    name: str,
    masks: Masks,
    outcomes: Sequence[VideoOutcome],
    inputs: Mapping[str, str],
) -> ShardDraft:
    """A mask set's part of a shard for `commit_shards`.

    Args:
        store: The store.
        shard: Which rows; their frames are committed, or will be with it.
        name: Of the mask set.
        masks: Shape (shard.num_rows, num_frames, height, width); of the type that the mask set was created for.
        outcomes: One a video, in row order.
        inputs: `ShardFrames.inputs` of the frames that the masks were computed from.

    Raises:
        ValueError: The frames come from no store, so nothing could detect that the masks are out of date.
    """
    if commit_name(shard, FRAMES_STAGE) not in inputs:
        raise ValueError(f"shard {shard.key}: masks need the inputs of the frames they were made from, got {inputs}")
    spec = stored_masks_spec(store, shard.split, name)
    contents = {spec.shard_name(shard.index): shard_content(spec, shard, masks)}
    return draft_shard(shard, masks_stage(name), outcomes, contents, inputs)


def write_masks(
    store: Store,
    shard: Shard,
    name: str,
    masks: Masks,
    outcomes: Sequence[VideoOutcome],
    inputs: Mapping[str, str],
) -> CommitRecord:
    """Write and commit a mask set's part of a shard: see `draft_masks` and `commit_shards`."""
    draft = draft_masks(store, shard, name, masks, outcomes, inputs)
    commit_shards(store.folder, [draft])
    return draft.record


def read_frames(store: Store, shard: Shard) -> ShardFrames:
    """All frames of a shard, with their times, and with their neighbours if the store has them.

    Raises:
        ShardIncompleteError: The shard has not been committed.
        ShardDamagedError: The data are damaged: a checksum is wrong.
    """
    inputs = input_digests(store, shard, [FRAMES_STAGE])  # before the frames: see there
    return _read_arrays(store, shard, inputs)


def _read_arrays(store: Store, shard: Shard, inputs: Mapping[str, str]) -> ShardFrames:
    folder, split = store.folder, shard.split
    return ShardFrames(
        frames=np.asarray(read_shard(folder, frames_spec(store, split), shard), dtype=np.uint8),
        pts_seconds=np.asarray(read_shard(folder, pts_spec(store, split), shard), dtype=np.float64),
        frame_index=np.asarray(read_shard(folder, frame_index_spec(store, split), shard), dtype=np.int64),
        next_grey=read_next_grey(store, shard) if store.manifest.neighbours else None,
        inputs=inputs,
    )


def read_kept(store: Store, shard: Shard, rows: Collection[int]) -> tuple[ShardFrames, dict[int, VideoOutcome]] | None:
    """Clips of a pending shard that need not be decoded again, each checked against its checksum.

    For example the rows of a shard that has grown since it was committed, and those of a shard that was being rewritten
    when the run was killed.

    Args:
        store: The store.
        shard: As it will be.
        rows: Those that are wanted.

    Returns:
        The shard's frames, and row -> outcome of the rows that are valid in them; None if no row is.
    """
    record = kept_record(store, shard, FRAMES_STAGE)
    # A file that is missing would be read as nothing but the fill value, without an error.
    if record is None or any(store.folder.num_bytes(written.name) is None for written in record.files):
        return None
    wanted = [outcome for outcome in record.outcomes if outcome.row in rows]
    try:
        clips = _read_arrays(store, shard, {})
    except (ShardDamagedError, ShardIncompleteError):
        return None
    kept = {}
    for outcome in wanted:
        slot = outcome.row - shard.start
        # The files may be those from before or from after: each slot is compared with what the record says of it.
        has_frames = bool((clips.frame_index[slot] >= 0).any())
        if has_frames == outcome.filled and (not has_frames or slot_checksum(clips.frames[slot]) == outcome.checksum):
            kept[outcome.row] = outcome
    return (clips, kept) if kept else None


def read_frame_index(store: Store, shard: Shard) -> tuple[NDArray[np.int64], dict[str, str]]:
    """Which frames of their videos the clips of a shard have, without the frames.

    Returns:
        `ShardFrames.frame_index` and `ShardFrames.inputs`.

    Raises:
        ShardIncompleteError: The shard has not been committed.
        ShardDamagedError: The data are damaged: a checksum is wrong.
    """
    inputs = input_digests(store, shard, [FRAMES_STAGE])  # before the index: see there
    index = read_shard(store.folder, frame_index_spec(store, shard.split), shard)
    return np.asarray(index, dtype=np.int64), inputs


def read_next_grey(store: Store, shard: Shard) -> NDArray[np.uint8]:
    """The neighbour of each frame of a shard, in grey: shape (shard.num_rows, num_frames, height, width).

    Raises:
        NotInStoreError: The store was made without neighbours.
        ShardDamagedError: The data are damaged: a checksum is wrong.
    """
    if not store.manifest.neighbours:
        raise no_neighbours(store)
    return np.asarray(read_shard(store.folder, next_grey_spec(store, shard.split), shard), dtype=np.uint8)


def clips_identity(store: Store, split: str, mask_name: str) -> dict[str, JSON]:
    """What made the clips of a split and their masks. Features and checkpoints record it of their inputs.

    Raises:
        NotInStoreError: There is no such split or mask set.
    """
    manifest = store.manifest
    return {
        "clips": {
            "options": dict(manifest.options),
            "frame_codec": manifest.frame_codec,
        },
        "masks": {"name": mask_name, "options": mask_attributes(store, split, mask_name)["options"]},
    }


def slot_checksum(values: ArrayValues) -> str:
    """The sha256 of one video's slot, C order."""
    return hashlib.sha256(np.ascontiguousarray(values).data).hexdigest()
