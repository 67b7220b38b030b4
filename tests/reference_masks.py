"""The definition of a motion mask, by NumPy and scikit-image: what `pipeline.masks` must equal, bit by bit."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.measure import label
from skimage.morphology import dilation, erosion

from pipeline.masks.options import MaskOptions

# cv2.getStructuringElement(MORPH_ELLIPSE, (n, n)), as OpenCV 4 and 5 draw it; written out so that a change is seen.
ELLIPSES = {
    1: ["1"],
    3: ["010", "111", "010"],
    5: ["00100", "11111", "11111", "11111", "00100"],
    9: ["000010000", "011111110", "011111110", *3 * ["111111111"], "011111110", "011111110", "000010000"],
}


def ellipse(size: int) -> NDArray[np.bool_]:
    return np.array([[cell == "1" for cell in row] for row in ELLIPSES[size]])


def grey(rgb: NDArray[np.uint8]) -> NDArray[np.int16]:
    """BT.601 weights in OpenCV's fixed point: 15 bits, rounded to nearest."""
    red, green, blue = (rgb[..., channel].astype(np.int64) for channel in range(3))
    return ((9798 * red + 19235 * green + 3735 * blue + (1 << 14)) >> 15).astype(np.int16)


def opencv_grey(rgb: NDArray[np.uint8]) -> NDArray[np.int16]:
    """The same, fast: for benchmarks."""
    return np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)).astype(np.int16)


def reference(
    frames: NDArray[np.uint8],
    options: MaskOptions,
    to_grey: Callable[[NDArray[np.uint8]], NDArray[np.int16]] = grey,
) -> NDArray[np.bool_]:
    """The masks of a clip, by the default rules of `MaskOptions`.

    A border as wide as the kernel reaches keeps the outside out: background while dilating, foreground while eroding.
    """
    masks = np.zeros(frames.shape[:3], dtype=np.bool_)
    greys = [to_grey(frame) for frame in frames]
    for t in range(len(frames) - 1):
        moved = np.abs(greys[t + 1] - greys[t]) > options.tau
        masks[t] = keep_large(open_and_close(moved, ellipse(options.kernel_size)), options.min_area)
    if len(frames) > 1:
        masks[-1] = masks[-2]
    return masks


def open_and_close(moved: NDArray[np.bool_], kernel: NDArray[np.bool_]) -> NDArray[np.bool_]:
    closed = grown(grown(moved, kernel), kernel, shrink=True)
    return grown(grown(closed, kernel, shrink=True), kernel)


def grown(picture: NDArray[np.bool_], kernel: NDArray[np.bool_], *, shrink: bool = False) -> NDArray[np.bool_]:
    """Dilation, or erosion; what is outside changes nothing."""
    reach = len(kernel) // 2
    padded = np.pad(picture, reach, constant_values=shrink)
    done = erosion(padded, kernel) if shrink else dilation(padded, kernel)
    inner: NDArray[np.bool_] = done[reach : done.shape[0] - reach, reach : done.shape[1] - reach]
    return inner


def keep_large(picture: NDArray[np.bool_], min_area: int) -> NDArray[np.bool_]:
    labels = label(picture, connectivity=2)
    areas = np.bincount(labels.ravel())
    areas[0] = 0
    kept: NDArray[np.bool_] = ((areas >= min_area) & (areas > 0))[labels]
    return kept


def soft_reference(
    frames: NDArray[np.uint8],
    options: MaskOptions,
    to_grey: Callable[[NDArray[np.uint8]], NDArray[np.int16]] = grey,
) -> NDArray[np.uint8]:
    """The soft masks of a clip, by the default rules: every value is a binary picture, closed and opened by itself.

    A pixel has the highest value whose picture has it. Then, from the lowest level on, what lies in components that are
    too small falls to just below the level.
    """
    masks = np.zeros(frames.shape[:3], dtype=np.uint8)
    greys = [to_grey(frame) for frame in frames]
    for t in range(len(frames) - 1):
        likely = likelihood(np.abs(greys[t + 1] - greys[t]), options.tau)
        for value in np.unique(likely[likely > 0]):
            masks[t][open_and_close(likely >= value, ellipse(options.kernel_size))] = value
        for level in (1, 32, 64, 96, 128, 160, 192, 224):
            is_small = (masks[t] >= level) & ~keep_large(masks[t] >= level, options.min_area)
            masks[t][is_small] = level - 1
    if len(frames) > 1:
        masks[-1] = masks[-2]
    return masks


def likelihood(difference: NDArray[np.int16], threshold: float) -> NDArray[np.uint8]:
    """How many of 255 thresholds a difference exceeds, from half to twice the given one, evenly on a logarithm."""
    numbers = np.arange(1, 256)  # the 128th is the threshold itself
    thresholds = threshold * 2.0 ** (2 * (numbers - 0.5) / 255 - 1)
    return np.asarray((difference[..., None] > thresholds).sum(axis=-1), dtype=np.uint8)
