"""How much two pictures differ, after the camera's motion is removed, and from which difference on a pixel moved."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.masks.options import Compensation, MaskOptions, ThresholdMode
from pipeline.masks.registration import camera_motion, moved_back
from pipeline.masks.soft import LEAST_OF_THRESHOLD

_SIGMAS_OF_MEDIAN = 1.4826
"""The standard deviation of normal noise is this many medians of its absolute value."""


@dataclass(frozen=True, slots=True)
class Change:
    """How much each pixel differs, and from how much on it has moved."""

    difference: NDArray[np.uint8]
    """Shape (height, width), grey levels; what is next compared may overwrite it."""
    threshold: float
    """Grey levels: a pixel that differs by more has moved."""


class Comparison:
    """Compares pictures of one size, pair by pair. Its buffer, small enough for the cache, is allocated once."""

    def __init__(self, options: MaskOptions, height: int, width: int) -> None:
        self._options = options
        self._is_fixed = options.threshold_mode == ThresholdMode.FIXED
        self._least = options.tau if self._is_fixed else options.noise_floor
        self._least_told = self._least * LEAST_OF_THRESHOLD if options.soft else self._least
        self._difference = np.empty((height, width), dtype=np.uint8)
        self.num_unregistered = 0
        """Pairs so far whose camera motion was looked for and not found."""

    def change(self, before: NDArray[np.uint8], after: NDArray[np.uint8]) -> Change | None:
        """How much each pixel changed.

        Args:
            before: Shape (height, width), grey.
            after: Shape (height, width), grey.

        Returns:
            The change; None if no difference exceeds the least possible threshold.
        """
        cv2.absdiff(before, after, dst=self._difference)
        if self._is_fixed and self._options.compensation == Compensation.NONE:
            return Change(self._difference, self._options.tau)
        # Without this early exit, a still pair would pay for registration and for the estimate of its noise.
        most = int(self._difference.max())
        if most <= self._least_told:
            return None
        difference = self._difference
        motion = self._motion(before, after)
        if motion is not None:
            back, takes_part = moved_back(after, motion)
            difference = np.where(takes_part, cv2.absdiff(before, back), np.uint8(0)).astype(np.uint8)
            if most <= self._least:  # a binary mask is empty here, and registration may not make a soft one say more
                difference = np.minimum(difference, np.uint8(most))
        return Change(difference, threshold_of(self._options, before, after))

    def _motion(self, before: NDArray[np.uint8], after: NDArray[np.uint8]) -> NDArray[np.float64] | None:
        if self._options.compensation == Compensation.NONE:
            return None
        motion = camera_motion(before, after, self._options.compensation)
        self.num_unregistered += motion is None
        return motion


def threshold_of(options: MaskOptions, before: NDArray[np.uint8], after: NDArray[np.uint8]) -> float:
    """The threshold of a pair of grey pictures, by `options.threshold_mode`; grey levels."""
    if options.threshold_mode == ThresholdMode.FIXED:
        return options.tau
    return max(options.noise_floor, options.noise_sigmas * noise_sigma(before, after))


def noise_sigma(before: NDArray[np.uint8], after: NDArray[np.uint8]) -> float:
    """The standard deviation of the noise in the difference of two pictures, grey levels.

    Donoho's robust estimate: each 2 x 2 square of the signed difference gives `h = d00 - d01 - d10 + d11`, in which
    areas and straight edges that moved cancel, and noise of standard deviation `sigma` has `2 sigma`. So `sigma =
    1.4826 median(|h|) / 2`. `h` is an integer; values of `k` are assumed to be spread evenly over `[k - 0.5, k + 0.5)`.
    The result is 0 if more than half of them are 0.

    >>> noise_sigma(np.zeros((8, 8), np.uint8), np.full((8, 8), 9, np.uint8))
    0.0
    """
    height, width = before.shape[0] // 2 * 2, before.shape[1] // 2 * 2
    d = after[:height, :width].astype(np.int16) - before[:height, :width]  # four of them add up to 1020 at most
    squares = np.abs(d[::2, ::2] - d[::2, 1::2] - d[1::2, ::2] + d[1::2, 1::2])
    if squares.size == 0:
        return 0.0
    # The median by counting: no sort of a quarter of the picture for each pair.
    counts = np.bincount(squares.reshape(-1))
    up_to = np.cumsum(counts)
    level = int(np.searchsorted(up_to, squares.size / 2))
    if level == 0:
        return 0.0
    num_below = int(up_to[level] - counts[level])
    median = level - 0.5 + (squares.size / 2 - num_below) / int(counts[level])
    return float(_SIGMAS_OF_MEDIAN * median / 2)
