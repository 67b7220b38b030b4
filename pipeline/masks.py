"""Motion masks: where neighbouring frames of a clip differ (FDA-CLIP, arXiv 2510.21806)."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

_CONNECTIVITY = 8
_BACKGROUND = 0


@dataclass(frozen=True, slots=True)
class MaskOptions:
    """What makes a mask out of two frames. The paper fixes the threshold; the other two are choices of this project."""

    threshold: float = 25.0
    """Grey levels, 0..255: a pixel has moved when it differs by more than this."""
    kernel_size: int = 5
    """Side of the elliptical structuring element of closing and opening, in stored pixels; odd. 1 is none."""
    min_area: int = 64
    """Stored pixels: smaller 8-connected components are dropped. 0 or 1 keeps all."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.threshold <= 255.0:
            raise ValueError(f"threshold must be in 0..255 grey levels, got {self.threshold}")
        if self.kernel_size < 1 or self.kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd and at least 1, got {self.kernel_size}")
        if self.min_area < 0:
            raise ValueError(f"min_area must not be negative, got {self.min_area}")


def difference_masks(frames: NDArray[np.uint8], options: MaskOptions) -> NDArray[np.bool_]:
    """Masks of what changes from each frame to the next.

    With `G` the frames in grey (BT.601 weights, as `cv2.cvtColor` rounds them): `D_t = |G_{t+1} - G_t|`, `D_t >
    threshold`, closing, opening, then small components are dropped. The last frame has no successor and gets the
    mask of the difference to its predecessor, which is the mask before it; a clip of one frame has no difference and
    gets an empty mask.

    Pixels outside the picture take no part in dilation or erosion (OpenCV's default border: background for a
    dilation, foreground for an erosion), so a mask touching the border is neither eaten nor grown by it.

    Args:
        frames: Shape (num_frames, height, width, 3), RGB.
        options: Threshold, kernel and least area.

    Returns:
        Shape (num_frames, height, width).

    Raises:
        ValueError: Another shape or type, or no frames.
    """
    if frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype != np.uint8 or frames.size == 0:
        raise ValueError(f"expected (num_frames, height, width, 3) uint8, got {frames.shape} {frames.dtype}")
    masks = np.zeros(frames.shape[:3], dtype=np.bool_)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (options.kernel_size, options.kernel_size))
    levels = np.floor(options.threshold)  # differences are whole, so D > 12.5 is D > 12
    before = cv2.cvtColor(frames[0], cv2.COLOR_RGB2GRAY)
    for index in range(1, len(frames)):
        grey = cv2.cvtColor(frames[index], cv2.COLOR_RGB2GRAY)
        _, binary = cv2.threshold(cv2.absdiff(grey, before), levels, 1, cv2.THRESH_BINARY)
        masks[index - 1] = _cleaned(binary, kernel, options.min_area)
        before = grey
    if len(frames) > 1:
        masks[-1] = masks[-2]
    return masks


def _cleaned(binary: cv2.typing.MatLike, kernel: cv2.typing.MatLike, min_area: int) -> NDArray[np.bool_]:
    """Close, open and drop small components of a picture of 0 and 1; shape (height, width) in and out."""
    closed = cv2.morphologyEx(binary, cv2.MORPH_CLOSE, kernel)
    opened = cv2.morphologyEx(closed, cv2.MORPH_OPEN, kernel)
    if min_area <= 1 or not opened.any():
        return opened.astype(np.bool_)
    _, labels, statistics, _ = cv2.connectedComponentsWithStats(opened, connectivity=_CONNECTIVITY)
    keep = statistics[:, cv2.CC_STAT_AREA] >= min_area
    keep[_BACKGROUND] = False
    kept: NDArray[np.bool_] = keep[labels]
    return kept
