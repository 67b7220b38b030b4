"""The changes between pairs of pictures: a frame and the next one, of the clip or of the video."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.masks.camera import CameraWatch
from pipeline.masks.comparison import Change, Comparison
from pipeline.masks.options import Compensation, Difference, MaskOptions
from pipeline.masks.shots import Shot
from pipeline.video.grey import Grey, grey_of


class PairChanges:
    """The changes of a clip by `sampled` or `consecutive`. To be gone through once."""

    def __init__(
        self,
        frames: NDArray[np.uint8],
        options: MaskOptions,
        shots: Sequence[Shot],
        next_grey: NDArray[np.uint8] | None,
    ) -> None:
        """Get ready.

        Args:
            frames: Shape (num_frames, height, width, 3), RGB.
            options: How they are compared.
            shots: Of the clip; no pair goes across two of them.
            next_grey: Shape (num_frames, height, width), for `consecutive`.

        Raises:
            ValueError: `next_grey` is needed and missing, or has another shape or type.
        """
        if options.difference == Difference.CONSECUTIVE:
            _check_next_grey(frames, next_grey)
        self.watch = CameraWatch()
        self.difference = options.difference
        self._frames, self._options, self._shots, self._next_grey = frames, options, shots, next_grey
        self._comparison = Comparison(options, *frames.shape[1:3])

    @property
    def num_unregistered(self) -> int | None:
        """Pairs so far whose camera motion was not found; None if it was not looked for."""
        is_compensated = self._options.compensation != Compensation.NONE
        return self._comparison.num_unregistered if is_compensated else None

    def __iter__(self) -> Iterator[tuple[int, Change]]:
        """The number of a frame and its change; those that certainly have none are left out."""
        for number, before, after in self._pairs():
            self.watch.add(before, after)
            change = self._comparison.change(before, after)
            if change is not None:
                yield number, change

    def _pairs(self) -> Iterator[tuple[int, Grey, Grey]]:
        if self._next_grey is not None and self._options.difference == Difference.CONSECUTIVE:
            for number, (frame, after) in enumerate(zip(self._frames, self._next_grey, strict=True)):
                yield number, grey_of(frame), after
            return
        for shot in self._shots:
            before = grey_of(self._frames[shot.start])
            for number in range(shot.start, shot.stop - 1):
                after = grey_of(self._frames[number + 1])
                yield number, before, after
                before = after


def _check_next_grey(frames: NDArray[np.uint8], next_grey: NDArray[np.uint8] | None) -> None:
    if next_grey is None:
        raise ValueError("difference 'consecutive' compares each frame with its neighbour in the video: give next_grey")
    if next_grey.shape != frames.shape[:3] or next_grey.dtype != np.uint8:
        raise ValueError(
            f"expected next_grey of shape {frames.shape[:3]} uint8, got {next_grey.shape} {next_grey.dtype}"
        )
