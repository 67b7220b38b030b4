"""The masks of one shard, computed from its stored frames and committed.

Masks are made at the size of the stored frames. Masks made at the video's own size and then resized are others (IoU of
.87 to .95 with these), so one definition is pinned: the one that needs no video.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.masks.clips import ClipMasks, clip_masks
from pipeline.masks.options import MaskOptions, MaskSet
from store.clips.layout import Masks
from store.clips.shards import ShardFrames, draft_masks, slot_checksum
from store.commits import CommitRecord, ShardDraft, VideoOutcome, commit_shards
from store.schema import Shard
from store.store import Store


def make_masks(
    store: Store, shard: Shard, mask_set: MaskSet, clips: ShardFrames, outcomes: Sequence[VideoOutcome]
) -> CommitRecord:
    """Compute and commit one mask set's part of a shard: see `draft_masks_of`."""
    draft = draft_masks_of(store, shard, mask_set, clips, outcomes)
    commit_shards(store.folder, [draft])
    return draft.record


def draft_masks_of(
    store: Store, shard: Shard, mask_set: MaskSet, clips: ShardFrames, outcomes: Sequence[VideoOutcome]
) -> ShardDraft:
    """Compute one mask set's part of a shard, for `commit_shards`.

    Args:
        store: Where it goes.
        shard: Which rows; their frames are committed, or will be with it.
        mask_set: Its name and options.
        clips: The frames as they are read from the store. If a clip has fewer frames than slots,
            the masks of the empty slots stay empty.
        outcomes: The outcome of each video in the frames stage, in row order.
    """
    masks: Masks = np.zeros(clips.frames.shape[:-1], dtype=np.uint8 if mask_set.options.soft else np.bool_)
    mask_outcomes = []
    for slot, outcome in enumerate(outcomes):
        made = _fill(masks[slot], clips, slot, mask_set.options) if outcome.filled else None
        mask_outcomes.append(_outcome(outcome, made, masks[slot]))
    return draft_masks(store, shard, mask_set.name, masks, mask_outcomes, clips.inputs)


def _fill(masks: Masks, clips: ShardFrames, slot: int, options: MaskOptions) -> ClipMasks:
    """Make the masks of one clip, in place; its frames come first, then its empty slots."""
    num_frames = int((clips.frame_index[slot] >= 0).sum())
    next_grey = None if clips.next_grey is None else clips.next_grey[slot, :num_frames]
    return clip_masks(clips.frames[slot, :num_frames], options, next_grey, out=masks[:num_frames])


def _outcome(outcome: VideoOutcome, made: ClipMasks | None, masks: Masks) -> VideoOutcome:
    if made is None:
        return VideoOutcome(outcome.video_id, outcome.row, outcome.status, filled=False)
    summary = made.summary
    return VideoOutcome(
        video_id=outcome.video_id,
        row=outcome.row,
        status=outcome.status,
        filled=True,
        checksum=slot_checksum(masks),
        num_masks=summary.num_masks,
        mask_coverage=summary.coverage,
        mask_components=summary.components,
        num_empty_masks=summary.num_empty,
        num_full_masks=summary.num_full,
        camera_motion=summary.camera_motion,
        num_unregistered_pairs=summary.num_unregistered,
        mask_difference=None if summary.picked is None else str(summary.picked),
    )
