"""Frames in grey."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Grey = NDArray[np.uint8]
"""A picture of shape (height, width)."""


def grey_of(frame: NDArray[np.uint8]) -> Grey:
    """A frame, shape (height, width, 3), RGB, in grey: BT.601 weights, as OpenCV rounds them."""
    return np.asarray(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), dtype=np.uint8)
