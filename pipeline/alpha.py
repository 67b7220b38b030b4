"""What goes into the alpha channel: a clip's own masks, or a control that says what the masks are worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from store.clips import ClipBatch, ClipReader


class AlphaSource(StrEnum):
    """Where the alpha channel of a clip comes from."""

    MASKS = "masks"
    """Its own masks."""
    ONES = "ones"
    """All ones: Alpha-CLIP's neutral input, the whole image."""
    ZEROS = "zeros"
    SHUFFLED = "shuffled"
    """The masks of another clip of the split, again from its first where it has fewer frames: how much is due to the
    motion of this very clip?"""


class AlphaClips:
    """Reads clips of a split with the alpha channel that is asked for, as their `masks`."""

    def __init__(self, reader: ClipReader, source: AlphaSource, seed: int = 0) -> None:
        """Choose the source; `seed` decides which other clip's masks a clip gets when they are shuffled.

        Raises:
            ValueError: Masks are to be shuffled among fewer than two clips.
        """
        self._reader = reader
        self._source = source
        self._mask_rows: dict[int, int] = {}
        if source is AlphaSource.SHUFFLED:
            self._mask_rows = shuffled_rows(sorted(reader.video_ids), seed)

    def read(self, rows: Sequence[int]) -> ClipBatch:
        """Read clips, in the order given."""
        clips = self._reader.read(rows)
        if self._source is AlphaSource.MASKS:
            return clips
        if self._source is AlphaSource.SHUFFLED:
            givers = [self._mask_rows[row] for row in rows]
            return replace(clips, masks=_repeated(self._reader.read_masks(givers), self._reader.is_frame(givers)))
        return replace(clips, masks=np.full_like(clips.masks, self._source is AlphaSource.ONES))


def _repeated(masks: NDArray[np.bool_], is_frame: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Fill the slots without a frame, which come last, with the masks of a clip's frames, again from the first.

    Args:
        masks: Shape (num_clips, num_frames, height, width).
        is_frame: Shape (num_clips, num_frames); at least one a clip.

    Returns:
        Shape (num_clips, num_frames, height, width).
    """
    slots = np.arange(masks.shape[1]) % is_frame.sum(axis=1, keepdims=True)
    repeated: NDArray[np.bool_] = np.take_along_axis(masks, slots[:, :, None, None], axis=1)
    return repeated


def shuffled_rows(rows: Sequence[int], seed: int) -> dict[int, int]:
    """Give each row another row, each used once: along one random cycle through all of them.

    >>> sorted(shuffled_rows([3, 5, 9], seed=0).values())
    [3, 5, 9]
    """
    if len(rows) < 2:
        raise ValueError(f"masks cannot be shuffled among {len(rows)} clips: it takes two")
    cycle = [rows[index] for index in np.random.default_rng(seed).permutation(len(rows))]
    return dict(zip(cycle, [*cycle[1:], cycle[0]], strict=True))
