"""Soft masks: how likely each pixel moves, instead of whether it does.

A binary mask turns on one number, its threshold `tau`, and nobody knows the right one. A soft mask says how much hangs
on it: the share of the thresholds from `tau / 2` to `2 tau`, evenly spread on a logarithmic scale, which a pixel's
difference exceeds. Under the belief that the right threshold lies somewhere there, this is the probability that the
pixel moves. With `D` the difference that the binary mask thresholds, whatever its kind:

    p(D) = (1 + log2(D / tau)) / 2, limited to 0..1        0 up to tau / 2, one half at tau, 1 from 2 tau on

Noise, far below `tau / 2`, gives exactly 0, which a logistic curve would not. Closing and opening are those of grey
pictures, with the same kernel: at every level they do what they do to the binary mask of that level's threshold. Last,
as there, components that are too small are dropped, at eight levels. So a pixel has `MOVES` or more if and only if the
binary mask has it, bit by bit, and coverage, empty and full are those of the binary mask.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.masks.cleaning import Cleaner
from store.clips.layout import MOVES, SURE

LEAST_OF_THRESHOLD = 0.5
"""Of the threshold: what differs by no more has no likelihood at all."""
LEVELS = (1, 32, 64, 96, MOVES, 160, 192, 224)
"""At each of these, components that are too small fall to just below it."""


class SoftCleaner:
    """Makes soft masks of pictures of one size; the counterpart of `Cleaner`, with the same parameters."""

    def __init__(self, kernel_size: int, min_area: int, height: int, width: int) -> None:
        self._cleaner = Cleaner(kernel_size, min_area, height, width)
        self._over = np.empty((height, width), dtype=np.uint8)
        self._kept = np.empty((height, width), dtype=np.uint8)

    def clean(self, difference: NDArray[np.uint8], threshold: float, mask: NDArray[np.uint8]) -> int:
        """Turn differences into likelihoods, close, open and drop small components.

        Args:
            difference: Shape (height, width), grey levels.
            threshold: Of the binary mask, grey levels.
            mask: Shape (height, width), C order, all 0: gets 0..255.

        Returns:
            Number of components of the binary mask.
        """
        likely = cv2.LUT(difference, likelihoods(threshold))
        if not cv2.countNonZero(likely):  # early exit: nothing moved
            return 0
        np.copyto(mask, self._cleaner.smooth(np.asarray(likely, dtype=np.uint8)))
        num_components = 0
        for level in LEVELS:
            cv2.threshold(mask, level - 1, 1, cv2.THRESH_BINARY, dst=self._over)
            self._kept.fill(0)
            num_kept = self._cleaner.keep_large(self._over, self._kept)
            if level == MOVES:
                num_components = num_kept
            limits = np.array([level - 1, SURE] + [0] * 254, dtype=np.uint8)  # of what is dropped, and of what is kept
            cv2.min(mask, cv2.LUT(self._kept, limits), dst=mask)
            if not num_kept:  # nothing reaches this level, nor the next
                break
        return num_components


def stretch(mask: NDArray[np.uint8]) -> None:
    """Multiply a soft mask, in place, so that its likeliest pixel is sure; where nothing moves at all, all are.

    Args:
        mask: Shape (height, width).
    """
    most = int(mask.max())
    if most:
        mask[:] = (mask.astype(np.uint16) * SURE + most // 2) // most
    else:
        mask[:] = SURE


@lru_cache(maxsize=64)
def likelihoods(threshold: float) -> NDArray[np.uint8]:
    """For each difference, 0..255 grey levels, how likely a pixel moves: shape (256,), 0 (rests) to 255 (moves).

    `MOVES` or more if and only if the difference exceeds the threshold; at the threshold itself, `MOVES - 1`.

    >>> likelihoods(25.0)[[0, 12, 13, 25, 26, 50, 255]].tolist()
    [0, 0, 7, 127, 135, 255, 255]
    """
    difference = np.arange(256)
    if threshold == 0:
        return np.where(difference > 0, SURE, 0).astype(np.uint8)
    with np.errstate(divide="ignore"):  # log2(0) is -inf, and limited to 0
        share = np.clip((1 + np.log2(difference) - np.log2(threshold)) / 2, 0, 1)
    values = np.ceil(SURE * share - 0.5)
    # By the comparison itself, so that no rounding of the logarithm moves a pixel across the threshold.
    sides = np.where(difference > threshold, np.maximum(values, MOVES), np.minimum(values, MOVES - 1))
    return np.asarray(sides, dtype=np.uint8)
