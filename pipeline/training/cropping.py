"""A random resized crop of a clip: one part of the picture, in all its frames, at the size of the whole."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from store.clips.layout import Masks

ASPECT_RATIOS = 3 / 4, 4 / 3
"""Least and most width over height of a part."""
_ATTEMPTS = 10
"""Draws of a part that fits, before the largest one in the middle is taken."""


@dataclass(frozen=True, slots=True)
class Crop:
    """A part of a picture, in pixels."""

    top: int
    left: int
    height: int
    width: int


def draw_crop(height: int, width: int, least_area: float, rng: np.random.Generator) -> Crop:
    """Draw a part of a picture as torchvision's `RandomResizedCrop.get_params` does.

    Its share of the area is even over `least_area` to 1, its width over height even on a logarithmic scale.

    >>> draw_crop(224, 224, 1.0, np.random.default_rng(0)).height <= 224
    True

    Args:
        height: Of the picture, pixels.
        width: Likewise.
        least_area: Above 0 and up to 1.
        rng: Draws it.
    """
    for _ in range(_ATTEMPTS):
        area = height * width * rng.uniform(least_area, 1.0)
        ratio = math.exp(rng.uniform(math.log(ASPECT_RATIOS[0]), math.log(ASPECT_RATIOS[1])))
        columns, rows = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < columns <= width and 0 < rows <= height:
            top, left = rng.integers(0, height - rows, endpoint=True), rng.integers(0, width - columns, endpoint=True)
            return Crop(int(top), int(left), rows, columns)
    rows, columns = min(height, round(width / ASPECT_RATIOS[0])), min(width, round(height * ASPECT_RATIOS[1]))
    return Crop((height - rows) // 2, (width - columns) // 2, rows, columns)


def crop_frames(frames: NDArray[np.uint8], crop: Crop) -> None:
    """Replace frames by a part of them, resized bilinearly: torchvision's default, which X-Pool's code leaves as it is.

    Args:
        frames: Shape (num_frames, height, width, 3); changed in place.
        crop: The part, the same in all frames.
    """
    _replace(frames, crop, cv2.INTER_LINEAR)


def crop_masks(masks: Masks, crop: Crop) -> None:
    """Replace masks by a part of them: of binary masks each pixel is the one at its place, soft ones are bilinear.

    Args:
        masks: Shape (num_frames, height, width); changed in place.
        crop: The part, that of their frames.
    """
    is_soft = masks.dtype == np.uint8
    _replace(masks.view(np.uint8), crop, cv2.INTER_LINEAR if is_soft else cv2.INTER_NEAREST_EXACT)


def _replace(pictures: NDArray[np.uint8], crop: Crop, interpolation: int) -> None:
    size = pictures.shape[2], pictures.shape[1]
    for picture in pictures:
        part = picture[crop.top : crop.top + crop.height, crop.left : crop.left + crop.width]
        picture[:] = cv2.resize(part, size, interpolation=interpolation)
