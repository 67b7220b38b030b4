"""The ground where a thing stays for most of a shot: there, the temporal median shows the thing.

A thing that turns in a small circle, or walks slowly, covers most of the pixels of its way in more than half of the
frames. Against the median, such a thing has a hole, and marks the ground as what moves once it has gone. Of each pixel
that changes, there are two values: the median, and the mean of the frames that differ from it. The ground is taken to
be the one that is more like what surrounds all that changes. What is enclosed by that and never changes is part of the
thing, if it is like it and not like the surroundings.

This is background initialisation (Bouwmans et al. 2017, "Scene background initialization: a taxonomy"), where the usual
assumption of half of the frames fails.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.masks.backdrop import ENOUGH, Backdrop, ChosenGround
from pipeline.masks.filling import fill_outlines
from pipeline.masks.medians import Picture

Floats = NDArray[np.float32]

_NEAR = np.ones((3, 3), dtype=np.uint8)
_LEAST_DIFFERENT = 10
"""Grey levels: a pixel that differs by more from the median has changed. Less than the threshold of a mask: of a thing
that is hardly darker than the ground, all must be found here."""
_CLOSING = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (9, 9))
"""Of what changes, before what it encloses is filled: the rims of slow things have gaps."""
_AROUND = 2
"""Pixels around what changes that do not count as surroundings: shadows and blurred edges."""
_LEAST_AROUND = 1 / 3
"""Share of what three pictures show: if less does not change, as under changing light, nothing tells the ground."""
_MARGIN = 4.0
"""Grey levels, of all planes together, by which the ground must be more like the surroundings than the thing is."""
_RATIOS = (0.5, 0.5, 0.95)
"""How much more like: the distance of the ground is at most `0.5 + 0.5 s` of that of the thing, if a share `s / 2` of
the frames show the ground, and at most 0.95 of it. The fewer frames show it, the surer it must be."""
_MAJORITY = 7
"""Pixels: a choice holds if most of the changing pixels in a square of this side are chosen likewise."""
_ALIKE = 0.6
"""A pixel is of the thing if its distance from what passes nearby is less than so much of that from the surroundings:
what the thing hides for a moment is not."""
_LEAST_UNLIKE = 15.0
"""Grey levels, of all planes together, by which it must differ from the surroundings."""
_BESIDE = 1 / 3
"""Share of the pictures: in so many, more of a thing must be beside what it covers for most of the time."""
_FIRST_WINDOW = 9
_KNOWN_SHARE = 0.1


def choose_ground(planes: Sequence[Backdrop]) -> ChosenGround | None:
    """Find where the median is not the ground.

    Args:
        planes: Of luma and of each channel of chroma, of one size, aligned alike.

    Returns:
        None if the median is the ground everywhere, or if nothing can tell.
    """
    medians = [plane.median.astype(np.float32) for plane in planes]
    differs = _differs(planes)  # (n, h, w)
    count = differs.sum(axis=0, dtype=np.int32)  # (h, w): how many pictures differ from the median
    is_known = planes[0].count >= ENOUGH
    changes = (count > 0) & is_known
    if not changes.any():
        return None
    inside = np.asarray(cv2.morphologyEx(changes.astype(np.uint8), cv2.MORPH_CLOSE, _CLOSING), dtype=np.uint8)
    fill_outlines(inside)
    is_enclosed = (inside > 0) & ~changes
    is_around = (cv2.dilate(inside, _NEAR, iterations=_AROUND) == 0) & is_known
    if np.count_nonzero(is_around) < _LEAST_AROUND * np.count_nonzero(is_known):
        return None
    around = _spread(medians, is_around)
    left = [plane.mean_where(differs) for plane in planes]
    # Neither value says by itself which is the ground. But the ground continues around it, and a thing does not.
    from_median, from_left = _distance(medians, around), _distance(left, around)
    fixed, more, most = _RATIOS
    ratio = np.minimum(fixed + more * 2 * count / np.maximum(planes[0].count, 1), most)
    is_left = changes & (_smoothed(from_left, changes) + _MARGIN < ratio * _smoothed(from_median, changes))
    # Where the thing moves, its colours are known. A median that is not like them is ground that it hid for a moment.
    if (is_passing := changes & ~is_left).any():
        passing = _spread(left, is_passing)
        is_left &= _smoothed(_distance(medians, passing), changes) < _ALIKE * _smoothed(from_median, changes)
    num_left, num_changing = (_sums(which.astype(np.float32), _MAJORITY) for which in (is_left, changes))
    is_left = changes & (2 * num_left > num_changing)
    # What is enclosed never changes, so there is one value to judge, and no second one to compare it with.
    is_hidden = np.zeros_like(is_enclosed)
    if is_enclosed.any():
        thing = _spread([np.where(is_left, one, other) for one, other in zip(medians, left, strict=True)], changes)
        to_thing = _smoothed(_distance(medians, thing), is_enclosed)
        to_around = _smoothed(from_median, is_enclosed)
        is_hidden = is_enclosed & (to_thing < _ALIKE * to_around) & (to_around > _LEAST_UNLIKE)
    is_thing = _beside_thing(is_left | is_hidden, (differs > 0) & ~is_left)
    is_left, is_hidden = is_left & is_thing, is_hidden & is_thing
    if not is_left.any() and not is_hidden.any():
        return None
    return ChosenGround(differs, is_left, is_hidden, tuple(np.round(one).astype(np.uint8) for one in around))


def _beside_thing(which: NDArray[np.bool_], thing: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Of what seems to be a thing that stays, the components beside which more of it is in enough pictures.

    What a thing passes, or goes around, is like this in few pictures.

    Args:
        which: Shape (height, width).
        thing: Where more of it is in each picture, shape (num_pictures, height, width).
    """
    num_labels, labels = cv2.connectedComponents(which.astype(np.uint8), connectivity=8)
    num_beside = np.zeros(num_labels, dtype=np.int32)
    for one in thing:
        near = cv2.dilate(one.astype(np.uint8), _NEAR, iterations=_AROUND) > 0
        num_beside += np.bincount(labels[near], minlength=num_labels) > 0
    is_kept = num_beside >= _BESIDE * len(thing)
    is_kept[0] = False  # label 0 is what is in no component
    return np.asarray(is_kept[labels], dtype=np.bool_)


def _differs(planes: Sequence[Backdrop]) -> NDArray[np.uint8]:
    """Where each picture differs from the median, shape (num_pictures, height, width), 0 and 1."""
    found = []
    for several in zip(*(plane.differences() for plane in planes), strict=True):
        most = several[0]
        for one in several[1:]:
            most = np.asarray(cv2.max(most, one), dtype=np.uint8)
        found.append(cv2.morphologyEx((most > _LEAST_DIFFERENT).astype(np.uint8), cv2.MORPH_OPEN, _NEAR))
    return np.stack(found)


def _distance(one: Sequence[Floats], other: Sequence[Floats]) -> Floats:
    """How far pixels are from each other, in all planes together."""
    far = np.zeros(one[0].shape, dtype=np.float32)
    for a, b in zip(one, other, strict=True):
        far += np.abs(a - b)
    return far


def _smoothed(values: Floats, where: NDArray[np.bool_]) -> Floats:
    """The mean of those of the 3 x 3 pixels around each that count."""
    weight = where.astype(np.float32)
    return np.asarray(_sums(values * weight, 3) / np.maximum(_sums(weight, 3), 1), dtype=np.float32)


def _spread(planes: Sequence[Picture | Floats], is_known: NDArray[np.bool_]) -> list[Floats]:
    """For each pixel, the mean of the known pixels in the smallest square around it of which a tenth is known.

    The squares are 9, 17, 33, ... pixels wide; the last has the whole picture.
    """
    known = is_known.astype(np.float32)
    weighted = [plane * known for plane in planes]
    spread = [np.zeros(known.shape, dtype=np.float32) for _ in planes]
    is_done = np.zeros(known.shape, dtype=np.bool_)
    side = _FIRST_WINDOW
    while not is_done.all():
        is_last = side > 2 * max(known.shape)
        num_known = _sums(known, side)
        is_new = ~is_done & ((num_known >= _KNOWN_SHARE * side * side) | is_last)
        for mean, values in zip(spread, weighted, strict=True):
            mean[is_new] = (_sums(values, side) / np.maximum(num_known, 1))[is_new]
        is_done |= is_new
        side = 2 * side - 1
    return spread


def _sums(values: Floats, side: int) -> Floats:
    """Sums over the squares around each pixel; what is outside counts as 0."""
    sums = cv2.boxFilter(values, -1, (side, side), normalize=False, borderType=cv2.BORDER_CONSTANT)
    return np.asarray(sums, dtype=np.float32)
