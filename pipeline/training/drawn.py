"""Clips of which each step sees other frames: drawn at random from the stored ones, their masks computed from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.clips.alpha import AlphaClips, random_areas, repeated
from pipeline.clips.options import AlphaSource
from pipeline.errors import InputError
from pipeline.masks.clips import clip_masks
from pipeline.masks.options import Difference, MaskOptions
from pipeline.masks.stored import stored_mask_options
from pipeline.run.machine import num_cores
from pipeline.training.options import TrainingRecipe
from store.arrays.reading import in_threads
from store.clips.layout import Masks
from store.clips.reader import ClipBatch
from store.store import Store

MOST_THREADS = 16
"""In which the clips of a step are made ready, if there are as many cores."""


def draw_slots(num_stored: int, num_drawn: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw one frame of each of `num_drawn` equal spans of a clip's stored frames; of fewer frames, take them all.

    Args:
        num_stored: Frames that the clip has, at least 1.
        num_drawn: Frames to draw, at least 1.
        rng: Draws them.

    Returns:
        Shape (min(num_stored, num_drawn),), increasing, each in `[0, num_stored)`.

    >>> draw_slots(24, 6, np.random.default_rng(0)).tolist()
    [3, 6, 10, 13, 17, 20]
    >>> draw_slots(4, 6, np.random.default_rng(0)).tolist()
    [0, 1, 2, 3]
    """
    num_spans = min(num_stored, num_drawn)
    # In integers: each frame is in one span, and no span is empty.
    edges = np.arange(num_spans + 1) * num_stored // num_spans
    return rng.integers(edges[:-1], edges[1:])


@dataclass(frozen=True, slots=True)
class Drawing:
    """How many frames are drawn, and where their masks come from."""

    num_frames: int
    mask_options: MaskOptions | None
    """How masks are computed from the frames drawn; None: the stored masks of these frames are used."""

    @classmethod
    def of(cls, store: Store, recipe: TrainingRecipe) -> Drawing | None:
        """What a recipe asks for; None if all stored frames are used.

        Raises:
            InputError: Fewer frames are stored, or nobody knows how the masks were made.
            NotInStoreError: There is no such split or mask set.
        """
        num_frames, split = recipe.batches.frames, recipe.train_split
        if not num_frames:
            return None
        num_stored = store.layout(split).num_frames
        if num_frames > num_stored:
            raise InputError(
                f"frames is {num_frames}, and clips of split {split!r} have {num_stored}: preprocess with "
                f"--train-frames {4 * num_frames}, or set frames to {num_stored} or less (--set frames=0 takes all)"
            )
        if recipe.alpha in (AlphaSource.ONES, AlphaSource.ZEROS):
            return cls(num_frames, None)  # these controls need no masks, and so no options of them
        return cls(num_frames, stored_mask_options(store, split, recipe.mask_name))


class DrawnClips:
    """Reads the clips of a split with frames drawn again at each reading."""

    def __init__(self, clips: AlphaClips, drawing: Drawing) -> None:
        """Draw as `drawing` says from the frames of `clips`, and give them masks or controls as these have them."""
        self._clips, self._reader, self._drawing = clips, clips.reader, drawing
        self._num_threads = min(MOST_THREADS, num_cores())

    def read(self, rows: Sequence[int], rngs: Sequence[np.random.Generator]) -> ClipBatch:
        """Read clips, in the order given; what is drawn of each depends on its generator alone."""
        slots = self._draw(rows, rngs)
        frames = self._reader.read_frames(rows, slots)
        return ClipBatch(
            video_ids=tuple(self._clips.video_ids[row] for row in rows),
            rows=np.asarray(rows, dtype=np.int64),
            frames=frames,
            masks=self._alpha(rows, rngs, slots, frames),
            is_frame=slots >= 0,
        )

    def _draw(self, rows: Sequence[int], rngs: Sequence[np.random.Generator]) -> NDArray[np.int64]:
        """The slots of each clip, shape (num_clips, num_frames); -1 behind those of a clip that has fewer frames."""
        slots = np.full((len(rows), self._drawing.num_frames), -1, dtype=np.int64)
        num_stored = self._reader.is_frame(rows).sum(axis=1).tolist()
        for place, (number, rng) in enumerate(zip(num_stored, rngs, strict=True)):
            drawn = draw_slots(number, self._drawing.num_frames, rng)
            slots[place, : len(drawn)] = drawn
        return slots

    def _alpha(
        self,
        rows: Sequence[int],
        rngs: Sequence[np.random.Generator],
        slots: NDArray[np.int64],
        frames: NDArray[np.uint8],
    ) -> Masks:
        match self._clips.source:
            case AlphaSource.ONES | AlphaSource.ZEROS as source:
                return np.full(frames.shape[:-1], source is AlphaSource.ONES)
            case AlphaSource.MASKS:
                return self._masks(rows, slots, frames)
            case AlphaSource.SHUFFLED:
                givers = [self._clips.givers[row] for row in rows]
                # Masks are computed from frames that belong together, so other frames are drawn as well: the giver's.
                theirs = self._draw(givers, rngs)
                return repeated(self._masks(givers, theirs, self._reader.read_frames(givers, theirs)), theirs >= 0)
            case AlphaSource.RANDOM_AREA:
                masks = self._masks(rows, slots, frames)
                for one, rng in zip(masks, rngs, strict=True):
                    one[:] = random_areas(one, rng)
                return masks

    def _masks(self, rows: Sequence[int], slots: NDArray[np.int64], frames: NDArray[np.uint8]) -> Masks:
        """The masks of drawn frames: as `fda masks` would make them of a clip that has these frames only."""
        options = self._drawing.mask_options
        if options is None:
            return self._reader.read_masks(rows, slots)
        is_consecutive = options.difference == Difference.CONSECUTIVE
        next_grey = self._reader.read_next_grey(rows, slots) if is_consecutive else None
        masks: Masks = np.zeros(frames.shape[:-1], dtype=np.uint8 if options.soft else np.bool_)

        def make(place: int) -> None:
            number = int((slots[place] >= 0).sum())
            following = None if next_grey is None else next_grey[place, :number]
            # Only of the frames that there are: an empty slot would be a frame that differs from its neighbour.
            clip_masks(frames[place, :number], options, following, out=masks[place, :number])

        in_threads(make, len(rows), self._num_threads)
        return masks
