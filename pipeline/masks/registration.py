"""Removing the motion of the camera from a pair of pictures: find how the background moved, and move it back.

Corners, one for each cell of a grid, are tracked by sparse optical flow in pictures of half the side. The motion that
most of them agree on is the camera's. The grid matters: the strongest corners of a picture often all lie on the object
that moves, and the motion found would be the object's. Large shifts are found first, by matching the middle of the
picture. Phase correlation and ECC were measured too: they are slower, or follow the object.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.masks.options import Compensation
from pipeline.video.grey import Grey

Points = NDArray[np.float32]
Motion = NDArray[np.float64]
"""Shape (2, 3): a pixel (x, y) of the first picture is at `motion @ (x, y, 1)` in the second."""

_SIDE = 112
"""Pixels: both sides of the pictures in which corners are tracked."""
_CELL = 8
"""Pixels of these: one corner, at most, for each square of this side."""
_CORNER = 1e-4
"""Least eigenvalue of a corner, as `cv2.cornerMinEigenVal` scales it: below it, the ground is flat."""
_SAME_LIGHT = 5.0
"""Grey levels: by so much the means of two pictures may differ, and no more is done about it."""
_WINDOW, _LEVELS = (13, 13), 2
"""Pixels around a corner that are tracked, and halvings of the picture: OpenCV's own, (21, 21) and 3, take longer."""
_COARSE_SIDE = 56
_COARSE_REACH = 14
"""Pixels of the coarse picture: the largest shift that matching its middle finds, a quarter of the side."""
_TOLERANCE = 1.0
"""Pixels: a corner this near to where the motion puts it agrees with it."""
_MIN_CORNERS = 8
_ENOUGH_CORNERS = 60
"""If every second cell, as on a chessboard, has so many, the others are left out: tracking takes most of the time."""
_NEAR = 8.0
"""Pixels: corners this near to where a similarity puts them may fit to a homography; and by so much, at most, a
homography may move the corners of the picture elsewhere than the similarity."""
_MIN_FOR_VIEW = 24
"""Corners that a homography, which has eight numbers, must explain."""
_MANY_AGREEING = 0.6
"""Share of all corners: if so many agree with a motion, no other is tried."""
_MOST_DOUBT = 0.4
"""If fewer agree, the motion must also bring the pictures nearer to each other ..."""
_NEARER = 0.9
"""... so that their mean difference, where both show something, is at most this share of what it was."""
_MIN_AGREEING = 0.2
"""With fewer, there is no motion. By chance up to .15 agree, over few squares; of 477 pairs of frames of different real
clips, none is registered. On real clips, a crowd or a rider in front leaves .2 to .4 for the ground."""
_PATCH = 14
"""Pixels: agreeing corners are counted by squares of this side ..."""
_MIN_PATCHES = 10
_MIN_PATCHES_IN_DOUBT = 12
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
    found = _found(before, after, kind)
    return None if found is None else _of_size(_whole(found.motion), before)[:2]


def camera_view(before: Grey, after: Grey) -> NDArray[np.float64] | None:
    """The same as a homography, shape (3, 3), which a camera that turns needs; None if no motion can be found.

    Which corners are the ground's is found by a similarity, with its few numbers. A homography is then fitted to these
    and to others nearby; where it explains no more of them, it is the similarity.

    Args:
        before: Shape (height, width).
        after: Shape (height, width).
    """
    found = _found(before, after, Compensation.SIMILARITY)
    return None if found is None else _of_size(_refined(found), before)


@dataclass(frozen=True, slots=True)
class _Found:
    """A motion of small pictures, and the corners that it was found by."""

    motion: Motion
    tracked: Points
    """Shape (num_corners, 2): where corners are in the first picture ..."""
    moved: Points
    """... and in the second."""
    agreeing: NDArray[np.bool_]


def _found(before: Grey, after: Grey, kind: Compensation) -> _Found | None:
    first = _resized(before, _SIDE)
    second = _in_light_of(first, _resized(after, _SIDE))
    corners = _corners(first)
    if len(corners) < _MIN_CORNERS:
        return None
    # Of the guesses the one that most corners agree with, each held to the limits below.
    best: _Found | None = None
    most = 0
    for guess in _guesses(first, second):
        tracked, moved = _track(first, second, corners, guess)
        if len(moved) < _MIN_CORNERS:
            continue
        motion, agreeing = _shift(tracked, moved) if kind == Compensation.TRANSLATION else _similarity(tracked, moved)
        num_agreeing = int(agreeing.sum())
        is_doubtful = num_agreeing < _MOST_DOUBT * len(corners)
        min_patches = _MIN_PATCHES_IN_DOUBT if is_doubtful else _MIN_PATCHES
        if motion is None or num_agreeing <= most or _num_patches(tracked[agreeing]) < min_patches:
            continue
        if is_doubtful and (num_agreeing < _MIN_AGREEING * len(corners) or not _brings_nearer(first, second, motion)):
            continue
        best, most = _Found(motion, tracked, moved, agreeing), num_agreeing
        if most >= _MANY_AGREEING * len(corners):
            break
    return best


def _refined(found: _Found) -> NDArray[np.float64]:
    whole = _whole(found.motion)
    # (n, 2) -> (n, 1, 2), as OpenCV takes points, and back; the farther of x and y: (n,)
    aside = np.abs(cv2.transform(found.tracked[:, None], found.motion)[:, 0] - found.moved).max(axis=1)
    near = aside < _NEAR
    if int(near.sum()) < _MIN_FOR_VIEW:
        return whole
    view, agreeing = cv2.findHomography(found.tracked[near], found.moved[near], cv2.RANSAC, _TOLERANCE, maxIters=500)
    # A tenth more: with eight numbers for four, a few more corners agree whatever the camera does.
    if view is None or int(agreeing.sum()) < max(_MIN_FOR_VIEW, 1.1 * int(found.agreeing.sum())):
        return whole
    side = float(_SIDE - 1)
    corners = np.array([[[0.0, 0.0]], [[side, 0.0]], [[side, side]], [[0.0, side]]])
    # A homography of corners in one part of the picture may be wild in the rest. So its four corners are compared.
    bent = np.abs(cv2.perspectiveTransform(corners, view) - cv2.perspectiveTransform(corners, whole)).max()
    return np.asarray(view, dtype=np.float64) if float(bent) <= _NEAR else whole


def _whole(motion: Motion) -> NDArray[np.float64]:
    return np.vstack([motion, [0.0, 0.0, 1.0]])


def _of_size(motion: NDArray[np.float64], picture: Grey) -> NDArray[np.float64]:
    """A motion of small pictures as one of pictures of this size."""
    return rescaled(motion, picture.shape[1] / _SIDE, picture.shape[0] / _SIDE)


def moved_back(after: Grey, motion: Motion) -> tuple[Grey, NDArray[np.bool_]]:
    """The second picture as the camera would have seen it without its motion.

    Returns:
        The picture, and where it shows something: a pixel whose counterpart lay outside the picture is False.
        Both of shape (height, width).
    """
    size, flags = (after.shape[1], after.shape[0]), cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    # A white picture, moved alike: where it is less than white, some of what was interpolated came from outside.
    inside = cv2.warpAffine(np.full_like(after, 255), motion, size, flags=flags)
    picture = cv2.warpAffine(after, motion, size, flags=flags)
    return np.asarray(picture, dtype=np.uint8), np.asarray(inside) >= _INSIDE


def rescaled(motion: NDArray[np.float64], x_scale: float, y_scale: float) -> NDArray[np.float64]:
    """A motion of pictures as one of pictures so many times as wide and high.

    The centre of pixel 0 is at 0, its left edge at -0.5.

    Args:
        motion: Shape (3, 3), or several: (num_motions, 3, 3).
        x_scale: Times as wide.
        y_scale: Times as high.

    >>> rescaled(np.array([[1.0, 0.0, 3.0], [0.0, 1.0, -1.0], [0.0, 0.0, 1.0]]), 2.0, 2.0)[:2]
    array([[ 1.,  0.,  6.],
           [ 0.,  1., -2.]])
    """
    # x -> (x + 0.5) * x_scale - 0.5, by the centres of pixels
    scale = np.array([[x_scale, 0.0, (x_scale - 1) / 2], [0.0, y_scale, (y_scale - 1) / 2], [0.0, 0.0, 1.0]])
    done: NDArray[np.float64] = scale @ motion @ np.linalg.inv(scale)
    return done


def _resized(picture: Grey, side: int) -> Grey:
    return np.asarray(cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _in_light_of(first: Grey, second: Grey) -> Grey:
    """The second picture with the brightness and contrast of the first: corners are tracked by their grey levels."""
    mean, deviation = float(second.mean()), float(second.std())
    if abs(mean - float(first.mean())) <= _SAME_LIGHT or deviation < _SAME_LIGHT:
        return second
    gain = float(first.std()) / deviation
    return np.asarray(cv2.convertScaleAbs(second, alpha=gain, beta=float(first.mean()) - gain * mean), dtype=np.uint8)


def _brings_nearer(before: Grey, after: Grey, motion: Motion) -> bool:
    back, inside = moved_back(after, motion)
    if not inside.any():
        return False
    with_motion, without = cv2.absdiff(before, back)[inside].mean(), cv2.absdiff(before, after)[inside].mean()
    return bool(with_motion <= _NEARER * without)


def _corners(picture: Grey) -> Points:
    """The strongest corner of each cell that has one, or of every second cell, shape (num_corners, 2), (x, y)."""
    strength = np.asarray(cv2.cornerMinEigenVal(picture, 5, ksize=3))
    per_side = _SIDE // _CELL
    # (112, 112) -> (14, 8, 14, 8) -> (14, 14, 8, 8) -> (196, 64): a row for each cell
    cells = strength.reshape(per_side, _CELL, per_side, _CELL).swapaxes(1, 2).reshape(per_side**2, _CELL**2)
    inner = cells.argmax(axis=1)
    number = np.flatnonzero(cells.max(axis=1) > _CORNER)
    every_second = number[(number % per_side + number // per_side) % 2 == 0]
    if len(every_second) >= _ENOUGH_CORNERS:
        number = every_second
    # Place of the cell and of the corner in it, both counted row by row.
    x = number % per_side * _CELL + inner[number] % _CELL
    y = number // per_side * _CELL + inner[number] // _CELL
    return np.stack([x, y], axis=1).astype(np.float32)


def _guesses(before: Grey, after: Grey) -> tuple[Points, ...]:
    """Shifts to start from: the one at which the middle of the first picture matches the second, if large; and none."""
    still = np.zeros(2, dtype=np.float32)
    middle = _resized(before, _COARSE_SIDE)[_COARSE_REACH:-_COARSE_REACH, _COARSE_REACH:-_COARSE_REACH]
    # (29, 29): the place `_COARSE_REACH` is no shift
    match = cv2.matchTemplate(_resized(after, _COARSE_SIDE), middle, cv2.TM_CCOEFF_NORMED)
    place = np.asarray(cv2.minMaxLoc(match)[3])
    far = ((place - _COARSE_REACH) * (_SIDE // _COARSE_SIDE)).astype(np.float32)
    return (far, still) if np.abs(far).max() > 2 else (still,)


def _track(before: Grey, after: Grey, corners: Points, guess: Points) -> tuple[Points, Points]:
    """Where corners are, and where they moved; lost ones are left out."""
    levels = _LEVELS if not guess.any() else 1  # a guess leaves a short way
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
    # (n, n): which shifts agree with which; there are 196 corners at most.
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
