"""What lies behind that which moves: the temporal median of pictures, aligned by the camera's motion."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.masks.medians import Picture, fill_unseen, middles
from pipeline.masks.motions import Motions, moved_corners

_NEAR = np.ones((3, 3), dtype=np.uint8)
# Inverse map: OpenCV takes a matrix that leads from a pixel of the result to one of the source, which our motions do.
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


@dataclass(frozen=True, slots=True)
class ChosenGround:
    """Where the median of aligned pictures is not the ground, and what the ground is there."""

    differs: NDArray[np.uint8]
    """Shape (num_pictures, height, width): 1 where a picture differs from the median."""
    is_left: NDArray[np.bool_]
    """Shape (height, width): the ground is in the pictures that differ from the median."""
    is_hidden: NDArray[np.bool_]
    """Shape (height, width): no picture shows the ground."""
    around: tuple[Picture, ...]
    """Of each plane, shape (height, width): what surrounds these pixels, in place of a ground that nobody sees."""


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
        self._origin = np.zeros(2, dtype=np.int64)
        self._laid: Sequence[Picture] = pictures
        self._seen: Sequence[NDArray[np.bool_]] | None = None
        if motions is None:
            self.count = np.full(pictures[0].shape, len(pictures), dtype=np.uint16)
        else:
            self._lay_over(motions)
        self.median, self._upper = middles(self._laid)

    def _lay_over(self, motions: Motions) -> None:
        """Bring all pictures into the view of the middle one."""
        # (n, 4, 2), (x, y) in the view of the middle picture: motions lead from there to the pictures.
        corners = moved_corners(np.asarray(np.linalg.inv(motions), dtype=np.float64), *self._size)
        low = np.floor(corners.min(axis=(0, 1))).astype(np.int64)
        width, height = (np.ceil(corners.max(axis=(0, 1))).astype(np.int64) - low + 1).tolist()
        # The canvas begins at `low` of that view, so that no pixel has a negative place.
        self._origin, self._to_picture = low, motions @ _shift(low)
        laid, seen = [], []
        for picture, to_picture, places in zip(self._pictures, self._to_picture, corners - low, strict=True):
            canvas, shows = np.zeros((height, width), np.uint8), np.zeros((height, width), np.bool_)
            # Only the part that a picture can cover is warped: the canvas may have four times its area.
            left, top = np.floor(places.min(axis=0)).astype(np.int64).tolist()
            right, bottom = (np.ceil(places.max(axis=0)).astype(np.int64) + 1).tolist()
            part, motion = (slice(top, bottom), slice(left, right)), to_picture @ _shift(np.array([left, top]))
            canvas[part] = _warped(picture, motion, (right - left, bottom - top))
            full = np.full_like(picture, 1)
            # Nearest, and 0 outside: linear interpolation would make a rim that is neither seen nor unseen.
            shows[part] = _warped(full, motion, (right - left, bottom - top), _NEAREST, cv2.BORDER_CONSTANT) > 0
            laid.append(canvas)
            seen.append(shows)
        self.count = fill_unseen(laid, seen)
        self._laid, self._seen = laid, seen

    def differences(self) -> Iterator[Picture]:
        """How far each picture is from the median, as `Behind.difference`, once they are aligned."""
        behind = Behind(self.median, None)
        for number, laid in enumerate(self._laid):
            difference = behind.difference(laid)
            if self._seen is not None:
                difference[~self._seen[number]] = 0
            yield difference

    def mean_where(self, chosen: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The mean of some of the values of each pixel, shape (height, width); 0 where there are none.

        Args:
            chosen: Shape (num_pictures, height, width), 0 and 1.
        """
        total = np.zeros(self.median.shape, dtype=np.float32)
        for laid, mask in zip(self._laid, chosen, strict=True):
            cv2.accumulate(laid, total, mask=mask)
        total /= np.maximum(chosen.sum(axis=0, dtype=np.int32), 1)
        return total

    def on_ground(self, ground: ChosenGround, plane: int) -> Backdrop:
        """The same pictures, with a background that is the ground where the median is not.

        Args:
            ground: Laid over each other as these pictures are.
            plane: Which of its planes this one is.
        """
        median = np.where(ground.is_left, np.round(self.mean_where(ground.differs)).astype(np.uint8), self.median)
        changed = copy(self)
        changed.median = np.where(ground.is_hidden, ground.around[plane], median)
        return changed

    def enlarged(self, ground: ChosenGround, smaller: Backdrop) -> ChosenGround:
        """A ground that was found in smaller pictures, aligned as these are.

        Args:
            ground: As it was found.
            smaller: Of the smaller pictures.
        """
        height, width = self.median.shape
        scale = np.array(smaller._size) / self._size
        # The centre of pixel 0 is at 0, its left edge at -0.5: (X + 0.5) * scale = x + 0.5.
        offset = (self._origin + 0.5) * scale - 0.5 - smaller._origin
        matrix = np.hstack([np.diag(scale), offset[:, None]])

        def large(picture: NDArray[np.uint8], flags: int) -> Picture:
            found = cv2.warpAffine(picture, matrix, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE)
            return np.asarray(found, dtype=np.uint8)

        return ChosenGround(
            np.stack([large(mask, _NEAREST) for mask in ground.differs]),
            large(ground.is_left.view(np.uint8), _NEAREST) > 0,
            large(ground.is_hidden.view(np.uint8), _NEAREST) > 0,
            tuple(large(picture, _LINEAR) for picture in ground.around),
        )

    def behind(self, number: int) -> Behind:
        """The background of one of the pictures."""
        if self._to_picture is None:
            # Without motions each picture shows each pixel, so that one number decides for all of them.
            if len(self._pictures) >= ENOUGH:
                return Behind(self.median, None)
            lower, upper, count = self.median, self._upper, self.count
        else:
            motion = np.linalg.inv(self._to_picture[number])
            lower = _warped(self.median, motion, self._size)
            count = cv2.warpPerspective(
                self.count, motion, self._size, flags=_NEAREST, borderMode=cv2.BORDER_REPLICATE
            ).astype(np.uint16)
            if int(count.min()) >= ENOUGH:
                return Behind(lower, None)
            upper = _warped(self._upper, motion, self._size)
        picture = self._pictures[number]
        # Of two values one is this picture's own. The other, its background, is the one that is farther from it.
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
