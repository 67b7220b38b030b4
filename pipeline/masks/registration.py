"""Removing the motion of the camera from a pair of pictures: find how the background moved, and move it back.

Corners, one for each cell of a grid, are tracked by sparse optical flow in pictures of half the side. The motion that
most of them agree on is the camera's. The grid matters: the strongest corners of a picture often all lie on the object
that moves, and the motion found would be the object's. Large shifts are found first, by matching the middle of the
picture. Phase correlation and ECC were measured too: they are slower, or follow the object.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.masks.options import Compensation

Grey = NDArray[np.uint8]
Points = NDArray[np.float32]
Motion = NDArray[np.float64]
"""Shape (2, 3): a pixel (x, y) of the first picture is at `motion @ (x, y, 1)` in the second."""

_SIDE = 112
"""Pixels: both sides of the pictures in which corners are tracked."""
_CELL = 8
"""Pixels of these: one corner, at most, for each square of this side."""
_CORNER = 1e-4
"""Least eigenvalue of a corner, as `cv2.cornerMinEigenVal` scales it: below it, the ground is flat."""
_WINDOW = (15, 15)
_LEVELS = 3
_COARSE_SIDE = 56
_COARSE_REACH = 14
"""Pixels of the coarse picture: the largest shift that matching its middle finds, a quarter of the side."""
_TOLERANCE = 1.0
"""Pixels: a corner this near to where the motion puts it agrees with it."""
_MIN_CORNERS = 8
_MIN_AGREEING = 0.4
"""Share of all corners that must agree with the motion."""
_PATCH = 14
"""Pixels: agreeing corners are counted by squares of this side ..."""
_MIN_PATCHES = 10
"""... and must lie in this many of the 64, so that it is not one object that they agree on."""
_INSIDE = 250
"""Of 255: a pixel whose counterpart lies outside the other picture gets less."""


def camera_motion(before: Grey, after: Grey, kind: Compensation) -> Motion | None:
    """How the camera moved from one picture to the next, or None if it cannot be found.

    Args:
        before: Shape (height, width).
        after: Shape (height, width).
        kind: Which motions are looked for.
    """
    small = _resized(before, _SIDE), _resized(after, _SIDE)
    corners = _corners(small[0])
    if len(corners) < _MIN_CORNERS:
        return None
    best: Motion | None = None
    most = 0
    for guess in _guesses(*small):
        tracked, found = _track(small[0], small[1], corners, guess)
        if len(found) < _MIN_CORNERS:
            continue
        motion, agreeing = _shift(tracked, found) if kind == Compensation.TRANSLATION else _similarity(tracked, found)
        if motion is None or agreeing.sum() <= most or _num_patches(tracked[agreeing]) < _MIN_PATCHES:
            continue
        best, most = motion, int(agreeing.sum())
    if best is None or most < _MIN_AGREEING * len(corners):
        return None
    return _enlarged(best, before.shape[1] / _SIDE, before.shape[0] / _SIDE)


def moved_back(after: Grey, motion: Motion) -> tuple[Grey, NDArray[np.bool_]]:
    """The second picture as the camera would have seen it without its motion.

    Returns:
        The picture, and where it shows something: a pixel whose counterpart lay outside the picture is False.
        Both of shape (height, width).
    """
    size, flags = (after.shape[1], after.shape[0]), cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    inside = cv2.warpAffine(np.full_like(after, 255), motion, size, flags=flags)
    picture = cv2.warpAffine(after, motion, size, flags=flags)
    return np.asarray(picture, dtype=np.uint8), np.asarray(inside) >= _INSIDE


def _resized(picture: Grey, side: int) -> Grey:
    return np.asarray(cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _corners(picture: Grey) -> Points:
    """The strongest corner of each cell that has one, shape (num_corners, 2), (x, y)."""
    strength = np.asarray(cv2.cornerMinEigenVal(picture, 5, ksize=3))
    per_side = _SIDE // _CELL
    cells = strength.reshape(per_side, _CELL, per_side, _CELL).swapaxes(1, 2).reshape(per_side**2, _CELL**2)
    inner = cells.argmax(axis=1)
    number = np.flatnonzero(cells.max(axis=1) > _CORNER)
    x = number % per_side * _CELL + inner[number] % _CELL
    y = number // per_side * _CELL + inner[number] // _CELL
    return np.stack([x, y], axis=1).astype(np.float32)


def _guesses(before: Grey, after: Grey) -> tuple[Points, ...]:
    """Shifts to start from: none, and the one at which the middle of the first picture matches the second, if large."""
    still = np.zeros(2, dtype=np.float32)
    middle = _resized(before, _COARSE_SIDE)[_COARSE_REACH:-_COARSE_REACH, _COARSE_REACH:-_COARSE_REACH]
    match = cv2.matchTemplate(_resized(after, _COARSE_SIDE), middle, cv2.TM_CCOEFF_NORMED)
    place = np.asarray(cv2.minMaxLoc(match)[3])
    far = ((place - _COARSE_REACH) * (_SIDE // _COARSE_SIDE)).astype(np.float32)
    return (still, far) if np.abs(far).max() > 2 else (still,)


def _track(before: Grey, after: Grey, corners: Points, guess: Points) -> tuple[Points, Points]:
    """Where corners are, and where they moved; lost ones are left out."""
    levels = _LEVELS if not guess.any() else 1
    found, status, _ = cv2.calcOpticalFlowPyrLK(
        before,
        after,
        corners.reshape(-1, 1, 2),
        np.ascontiguousarray(corners + guess, dtype=np.float32).reshape(-1, 1, 2),
        winSize=_WINDOW,
        maxLevel=levels,
        flags=cv2.OPTFLOW_USE_INITIAL_FLOW,
    )
    kept = np.asarray(status).reshape(-1) == 1
    return corners[kept], np.asarray(found, dtype=np.float32).reshape(-1, 2)[kept]


def _shift(tracked: Points, found: Points) -> tuple[Motion, NDArray[np.bool_]]:
    """The shift that most corners agree on, and which ones do."""
    shifts = found - tracked
    x, y = shifts.T
    agreements = (np.abs(x[:, None] - x) < _TOLERANCE) & (np.abs(y[:, None] - y) < _TOLERANCE)
    agreeing = agreements[agreements.sum(axis=1).argmax()]
    shift = shifts[agreeing].mean(axis=0, dtype=np.float64)
    return np.array([[1.0, 0.0, shift[0]], [0.0, 1.0, shift[1]]]), agreeing


def _similarity(tracked: Points, found: Points) -> tuple[Motion | None, NDArray[np.bool_]]:
    """The shift, zoom and rotation that most corners agree on (RANSAC, from a fixed seed), and which ones do."""
    motion: NDArray[np.float64] | None  # None if all corners coincide; OpenCV's types do not say so
    motion, agreeing = cv2.estimateAffinePartial2D(  # type: ignore[assignment]
        tracked, found, method=cv2.RANSAC, ransacReprojThreshold=_TOLERANCE
    )
    if motion is None:
        return None, np.zeros(len(tracked), dtype=np.bool_)
    return motion, np.asarray(agreeing).reshape(-1) == 1


def _num_patches(points: Points) -> int:
    """How many squares of the picture contain a point."""
    patches = points.astype(np.int64) // _PATCH
    return len(np.unique(patches[:, 0] + patches[:, 1] * _SIDE))


def _enlarged(motion: Motion, x_scale: float, y_scale: float) -> Motion:
    """A motion in small pictures as one in large ones; the centre of pixel 0 is at 0, its left edge at -0.5.

    >>> _enlarged(np.array([[1.0, 0.0, 3.0], [0.0, 1.0, -1.0]]), 2.0, 2.0)
    array([[ 1.,  0.,  6.],
           [ 0.,  1., -2.]])
    """
    scale = np.array([[x_scale, 0.0, (x_scale - 1) / 2], [0.0, y_scale, (y_scale - 1) / 2], [0.0, 0.0, 1.0]])
    whole = np.vstack([motion, [0.0, 0.0, 1.0]])
    enlarged: Motion = (scale @ whole @ np.linalg.inv(scale))[:2]
    return enlarged
