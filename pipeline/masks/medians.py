"""The median of several pictures, pixel by pixel, where some of them show nothing: by a sorting network.

A sorting network compares fixed places, so each comparison is the minimum and the maximum of two whole pictures of
bytes, which OpenCV does 32 pixels at a time. For 12 pictures of 224 x 224 it takes 0.2 ms, `numpy.median` 7 ms.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]


def middles(pictures: Sequence[Picture]) -> tuple[Picture, Picture]:
    """The median of each pixel (of an even number, the lower of the two in the middle), and the value after it.

    Args:
        pictures: At least one; of one shape.

    Returns:
        Both of that shape. Of one picture, both are that picture.

    >>> [int(found[0, 0]) for found in middles([np.array([[level]], np.uint8) for level in (9, 1, 7, 3)])]
    [3, 7]
    """
    rows = [picture.copy() for picture in pictures]
    spare = np.empty_like(rows[0])
    for low, high in _comparisons(len(rows)):
        cv2.min(rows[low], rows[high], dst=spare)
        cv2.max(rows[low], rows[high], dst=rows[high])
        # The buffers change places instead of their content: each comparison makes one new picture, and frees one.
        rows[low], spare = spare, rows[low]
    return rows[(len(rows) - 1) // 2], rows[min((len(rows) + 1) // 2, len(rows) - 1)]


def fill_unseen(pictures: Sequence[Picture], seen: Sequence[NDArray[np.bool_]]) -> NDArray[np.uint16]:
    """Fill pixels that a picture does not show, in place, so that `middles` are those of the pictures that show them.

    As many are filled with the least as with the greatest value, or one more of those, such that the place of the
    lower median stays the same: that of all is that of those which show the pixel.

    Args:
        pictures: Each of shape (height, width).
        seen: For each picture, shape (height, width): where it shows something.

    Returns:
        Shape (height, width): how many pictures show each pixel.
    """
    # Whether the next picture that does not show the pixel gets the greatest value there.
    is_white = np.full(seen[0].shape, len(pictures) % 2 == 0, dtype=np.bool_)
    count = np.zeros(seen[0].shape, dtype=np.uint16)
    for picture, shows in zip(pictures, seen, strict=True):
        count += shows
        if shows.all():
            continue
        picture[~shows & is_white] = 255
        picture[~shows & ~is_white] = 0
        is_white ^= ~shows
    return count


@lru_cache(maxsize=64)
def _comparisons(count: int) -> tuple[tuple[int, int], ...]:
    """Batcher's odd-even merge sort of `count` values, less the comparisons on which the middles do not depend.

    >>> _comparisons(3)
    ((0, 1), (0, 2), (1, 2))
    """
    needed = {(count - 1) // 2, min((count + 1) // 2, count - 1)}
    kept = []
    # Backwards from the middles: a comparison counts if it decides a value that is needed after it.
    for low, high in reversed(_batcher(count)):
        if low in needed or high in needed:
            needed |= {low, high}
            kept.append((low, high))
    return tuple(reversed(kept))


def _batcher(count: int) -> list[tuple[int, int]]:
    """Pairs to put in order, one after the other, until `count` values are sorted."""
    pairs, p = [], 1
    while p < count:
        k = p
        while k >= 1:
            for start in range(k % p, count - k, 2 * k):
                stop = start + min(k, count - start - k)
                pairs += [(low, low + k) for low in range(start, stop) if low // (2 * p) == (low + k) // (2 * p)]
            k //= 2
        p *= 2
    return pairs
