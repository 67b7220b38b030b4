"""The clips of a step: read or drawn, with their alpha, changed at random."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.clips.alpha import AlphaClips
from pipeline.clips.options import AlphaSource
from pipeline.clips.resizing import resized
from pipeline.run.machine import num_cores
from pipeline.training.augment import augment
from pipeline.training.drawn import MOST_THREADS, Drawing, DrawnClips
from pipeline.training.options import BatchOptions
from store.arrays.reading import in_threads
from store.clips.reader import ClipBatch


class TrainingClips:
    """Reads the clips of a step. Each is drawn and changed by a generator of its own."""

    def __init__(self, clips: AlphaClips, drawing: Drawing | None, options: BatchOptions, block_size: int) -> None:
        """Prepare.

        Args:
            clips: Of the split.
            drawing: Which frames are drawn; None: all are taken.
            options: How clips are changed.
            block_size: Side of a block of `mask_dropout`, pixels.
        """
        self._clips = clips
        self._drawn = None if drawing is None else DrawnClips(clips, drawing)
        self._options, self._block_size = options, block_size
        self._num_threads = min(MOST_THREADS, num_cores())

    def read(self, rows: Sequence[int], rngs: Sequence[np.random.Generator]) -> ClipBatch:
        """Read clips, in the order given.

        Args:
            rows: Of the clips.
            rngs: One for each: the same gives the same clip, whatever stands beside it.
        """
        clips = self._clips.read(rows) if self._drawn is None else self._drawn_of(self._drawn, rows, rngs)

        # Threads are safe: each changes one clip, in place, with a generator that no other uses.
        def change(place: int) -> None:
            augment(clips.frames[place], clips.masks[place], self._options, rngs[place], self._block_size)

        in_threads(change, len(rows), self._num_threads)
        # After all changes: jitter and dropout must not turn a control into masks.
        if self._clips.source in (AlphaSource.ONES, AlphaSource.ZEROS):
            clips.masks[:] = self._clips.source is AlphaSource.ONES
        return clips

    def _drawn_of(self, drawn: DrawnClips, rows: Sequence[int], rngs: Sequence[np.random.Generator]) -> ClipBatch:
        """Masks are computed from the frames as they are stored, as those of `fda masks` are, and then resized."""
        clips, size = drawn.read(rows, rngs), self._clips.size
        return clips if size is None else resized(clips, size.side)
