"""The masks of one shard, computed from its stored frames and committed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.masks import MaskOptions, difference_masks
from store.clips import slot_checksum, write_masks
from store.commits import VideoOutcome
from store.schema import Shard
from store.store import Store


def make_masks(
    store: Store,
    shard: Shard,
    name: str,
    options: MaskOptions,
    frames: NDArray[np.uint8],
    outcomes: Sequence[VideoOutcome],
) -> None:
    """Compute and commit one mask set's part of a shard.

    Args:
        store: Where it goes.
        shard: Which rows; their frames are committed.
        name: Of the mask set.
        options: What makes a mask.
        frames: Shape (num_videos, num_frames, height, width, 3), RGB: the stored frames.
        outcomes: How each video fared when its frames were made, in row order.
    """
    masks = np.zeros(frames.shape[:-1], dtype=np.bool_)
    mask_outcomes = []
    for slot, outcome in enumerate(outcomes):
        checksum = None
        if outcome.filled:
            masks[slot] = difference_masks(frames[slot], options)
            checksum = slot_checksum(masks[slot])
        mask_outcomes.append(
            VideoOutcome(outcome.video_id, outcome.row, outcome.status, outcome.filled, checksum=checksum)
        )
    write_masks(store, shard, name, masks, mask_outcomes)
