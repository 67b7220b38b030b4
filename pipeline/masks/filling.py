"""From the outline of an object to the whole of it."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.uint8]


def connected_to(weak: Mask, strong: Mask) -> tuple[Mask, int]:
    """The 8-connected components of a mask that touch another mask.

    Args:
        weak: Shape (height, width), 0 and 1.
        strong: Shape (height, width), 0 and 1.

    Returns:
        These components and all of `strong`, and how many components that is.
    """
    either = cv2.bitwise_or(weak, strong)
    num_labels, labels = cv2.connectedComponents(either, connectivity=8, ltype=cv2.CV_32S)
    touched = np.bincount(labels[strong > 0], minlength=num_labels) > 0
    kept: Mask = touched[labels].astype(np.uint8)
    return kept, int(touched.sum())


def fill_outlines(mask: Mask) -> int:
    """Fill, in place, what a mask encloses: pixels from which no 4-connected way outside it leads to the border.

    Args:
        mask: Shape (height, width), C order, 0 and 1.

    Returns:
        How many 8-connected components the filled mask has.
    """
    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    cv2.drawContours(mask, outlines, -1, 1, thickness=cv2.FILLED)
    return len(outlines)
