"""What lies behind that which moves: the temporal median of pictures, laid over each other by the camera's motion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.masks.medians import Picture, fill_unseen, middles
from pipeline.masks.motions import Motions, moved_corners

_NEAR = np.ones((3, 3), dtype=np.uint8)
_LINEAR = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
_NEAREST = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
ENOUGH = 3
"""Pictures that show a pixel: with so many, their median is the background if one of them shows something else."""


@dataclass(frozen=True, slots=True)
class Behind:
    """The background of one picture, as its camera saw it. Both of shape (height, width)."""

    background: Picture
    """The median (of an even number of values, the lower of the two in the middle). A pixel that only this picture and
    another one show has the other one as its background."""
    is_seen: NDArray[np.bool_] | None
    """Where another picture shows the pixel, so that there is a background; None if it is everywhere."""

    def difference(self, picture: Picture) -> Picture:
        """How far each pixel is from the range of the 3 x 3 pixels of the background around it.

        Edges that lie up to a pixel aside, as after interpolation, compression or a small error of the motion, thereby
        differ in nothing. Nor does a pixel without a background.

        Args:
            picture: Shape (height, width).
        """
        over = cv2.subtract(picture, cv2.dilate(self.background, _NEAR))
        under = cv2.subtract(cv2.erode(self.background, _NEAR), picture)
        found = np.asarray(cv2.max(over, under, dst=over), dtype=np.uint8)
        if self.is_seen is not None:
            found[~self.is_seen] = 0
        return found


class Backdrop:
    """The background of all pictures of a run."""

    def __init__(self, pictures: Sequence[Picture], motions: Motions | None = None) -> None:
        """Find it.

        Args:
            pictures: At least one, of one shape (height, width).
            motions: Where the camera was, see `Run`; None if it rests.
        """
        self._pictures = pictures
        self._size = (pictures[0].shape[1], pictures[0].shape[0])
        self._to_picture: NDArray[np.float64] | None = None
        if motions is None:
            self._lower, self._upper = middles(pictures)
            self._count = np.full(pictures[0].shape, len(pictures), dtype=np.uint16)
            return
        corners = moved_corners(np.asarray(np.linalg.inv(motions), dtype=np.float64), *self._size)
        low = np.floor(corners.min(axis=(0, 1))).astype(np.int64)
        width, height = (np.ceil(corners.max(axis=(0, 1))).astype(np.int64) - low + 1).tolist()
        self._to_picture = motions @ _shift(low)
        laid, seen = [], []
        for picture, to_picture, places in zip(pictures, self._to_picture, corners - low, strict=True):
            canvas, shows = np.zeros((height, width), np.uint8), np.zeros((height, width), np.bool_)
            left, top = np.floor(places.min(axis=0)).astype(np.int64).tolist()
            right, bottom = (np.ceil(places.max(axis=0)).astype(np.int64) + 1).tolist()
            part, motion = (slice(top, bottom), slice(left, right)), to_picture @ _shift(np.array([left, top]))
            canvas[part] = _warped(picture, motion, (right - left, bottom - top))
            full = np.full_like(picture, 1)
            shows[part] = _warped(full, motion, (right - left, bottom - top), _NEAREST, cv2.BORDER_CONSTANT) > 0
            laid.append(canvas)
            seen.append(shows)
        self._count = fill_unseen(laid, seen)
        self._lower, self._upper = middles(laid)

    def behind(self, number: int) -> Behind:
        """The background of one of the pictures."""
        if self._to_picture is None:
            if len(self._pictures) >= ENOUGH:
                return Behind(self._lower, None)
            lower, upper, count = self._lower, self._upper, self._count
        else:
            motion = np.linalg.inv(self._to_picture[number])
            lower = _warped(self._lower, motion, self._size)
            count = cv2.warpPerspective(
                self._count, motion, self._size, flags=_NEAREST, borderMode=cv2.BORDER_REPLICATE
            ).astype(np.uint16)
            if int(count.min()) >= ENOUGH:
                return Behind(lower, None)
            upper = _warped(self._upper, motion, self._size)
        picture = self._pictures[number]
        is_upper = (count < ENOUGH) & (cv2.absdiff(picture, upper) > cv2.absdiff(picture, lower))
        return Behind(np.where(is_upper, upper, lower), count >= ENOUGH - 1)


def _warped(
    picture: Picture,
    motion: NDArray[np.float64],
    size: tuple[int, int],
    flags: int = _LINEAR,
    border: int = cv2.BORDER_REPLICATE,
) -> Picture:
    return np.asarray(cv2.warpPerspective(picture, motion, size, flags=flags, borderMode=border), dtype=np.uint8)


def _shift(by: NDArray[np.int64]) -> NDArray[np.float64]:
    """The motion that adds `by`, (x, y)."""
    return np.array([[1.0, 0.0, by[0]], [0.0, 1.0, by[1]], [0.0, 0.0, 1.0]])
