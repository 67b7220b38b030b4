"""Whether the camera of a clip moved, detected at the border of its pictures. Integers only, and cheap."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

_SIDE = 56
_CELLS = 8
"""The pictures are averaged down to `_SIDE` pixels a side, which takes out noise, and cut into 8 x 8 cells."""
_CELL = _SIDE // _CELLS
_TEXTURE = 32
"""Grey levels between the darkest and the lightest pixel of a cell in which a motion of the camera would show."""
_CHANGE = 8
"""Grey levels: a pixel that differs by more has changed ..."""
_CHANGED_PIXELS = 5
"""... and a cell with so many of them, of 49, has changed."""
_MIN_TEXTURED = 7
"""Of the 28 border cells: with fewer, a pair of pictures does not count."""

_BORDER = np.ones((_CELLS, _CELLS), dtype=np.bool_)
_BORDER[1:-1, 1:-1] = False


class CameraWatch:
    """Detects whether the camera moved, from the pairs of pictures of one clip.

    What moves in front of a still camera leaves most of the border unchanged; a pan, a zoom or a shaking hand changes
    nearly all of its texture. A pair of pictures shows motion if at least 3 in 5 of its textured border cells changed.
    The camera moved if at least half of the pairs that count show motion. Hard cuts between frames and sudden changes
    of light are detected as motion, too.
    """

    def __init__(self) -> None:
        self._before: list[NDArray[np.uint8]] = []
        self._after: list[NDArray[np.uint8]] = []
        self._last: NDArray[np.uint8] | None = None

    def add(self, before: NDArray[np.uint8], after: NDArray[np.uint8]) -> None:
        """Add a pair of grey pictures, each of shape (height, width)."""
        self._before.append(self._after[-1] if before is self._last else _small(before))
        self._after.append(_small(after))
        self._last = after

    def camera_moves(self) -> bool | None:
        """Whether the camera moved; None if fewer than half of the pairs count, because their borders are flat."""
        if not self._before:
            return None
        tells, moves = self._pairs()
        num_telling = int(tells.sum())
        return bool(2 * int(moves.sum()) >= num_telling) if 2 * num_telling >= len(tells) else None

    def pairs_at_rest(self) -> list[bool]:
        """For each pair, whether its border has texture and shows no motion."""
        if not self._before:
            return []
        tells, moves = self._pairs()
        return [bool(rests) for rests in tells & ~moves]

    def _pairs(self) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Which pairs count, and which of these show motion; each of shape (num_pairs,)."""
        first, second = _cells(self._before), _cells(self._after)
        textured = (first.max(axis=0) - first.min(axis=0) >= _TEXTURE) & _BORDER.reshape(-1)
        # Bytes: a plain difference would wrap.
        differs = np.maximum(first, second) - np.minimum(first, second) > _CHANGE
        # (49, num_pairs, 64) -> (num_pairs, 64); 49 pixels at most fit a byte.
        changed = differs.sum(axis=0, dtype=np.uint8) >= _CHANGED_PIXELS
        num_textured = textured.sum(axis=-1)
        tells = num_textured >= _MIN_TEXTURED
        return tells, tells & (5 * (textured & changed).sum(axis=-1) >= 3 * num_textured)


def _small(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    half = cv2.resize(grey, (2 * _SIDE, 2 * _SIDE), interpolation=cv2.INTER_AREA)  # in two steps: 3x faster than in one
    return np.asarray(cv2.resize(half, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _cells(pictures: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Small pictures by cell, shape (49, num_pictures, 64): pixels first, over which NumPy then reduces fastest."""
    # (n, 56, 56) -> (n, 8, 7, 8, 7) -> (7, 7, n, 8, 8)
    by_cell = np.stack(pictures).reshape(-1, _CELLS, _CELL, _CELLS, _CELL).transpose(2, 4, 0, 1, 3)
    return by_cell.reshape(_CELL**2, -1, _CELLS**2)
