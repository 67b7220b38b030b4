"""What is behind the objects: a drawn texture, or frames of a clip of one's own."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.synthetic.factors import Settings
from pipeline.synthetic.suites import Amount

MEAN_LEVEL = 45.0
"""Of a drawn ground, grey levels."""
_CELLS = ((32, 0.8), (8, 0.6))
"""Pixels between the random values of one layer, and its share of the standard deviation."""
_TINT = 0.2


def draw_ground(rng: np.random.Generator, settings: Settings, amount: Amount, margin: int) -> NDArray[np.uint8]:
    """A still ground, coarse and fine smooth noise with a slight tint.

    Returns:
        Shape (height + 2 * margin, width + 2 * margin, 3), RGB.
    """
    height, width = amount.height + 2 * margin, amount.width + 2 * margin
    ground = np.full((height, width, 3), MEAN_LEVEL, np.float32)
    for cell, share in _CELLS:
        # One more value than cells, and one for the last cell where it is cut.
        rows, columns = height // cell + 2, width // cell + 2
        grey = rng.normal(0.0, share * settings.texture, (rows, columns, 1))
        tint = rng.normal(0.0, _TINT * settings.texture, (rows, columns, 3))
        coarse = (grey + tint).astype(np.float32)
        ground += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(ground, 0, 255).astype(np.uint8)


def fitted(frame: NDArray[np.uint8], amount: Amount, margin: int) -> NDArray[np.uint8]:
    """A frame of a video as a ground: scaled so that it covers the ground, and its middle cut out; shape as above."""
    height, width = amount.height + 2 * margin, amount.width + 2 * margin
    scale = max(height / frame.shape[0], width / frame.shape[1])
    size = max(width, round(frame.shape[1] * scale)), max(height, round(frame.shape[0] * scale))
    # Averages where it shrinks: cubic would let fine texture flicker as aliases.
    scaled = cv2.resize(frame, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    top, left = (scaled.shape[0] - height) // 2, (scaled.shape[1] - width) // 2
    return np.ascontiguousarray(scaled[top : top + height, left : left + width]).astype(np.uint8, copy=False)
