"""The definition of masks against a background, by NumPy and scikit-image: what `pipeline.masks` must equal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.measure import label

from pipeline.masks.lighting import levels_after, light_change
from pipeline.masks.options import Fill, MaskOptions
from tests.reference_masks import ellipse, grown, keep_large, open_and_close

Picture = NDArray[np.uint8]
Floats = NDArray[np.float64]


def background_reference(frames: Picture, options: MaskOptions) -> NDArray[np.bool_]:
    """The masks of a clip of one shot by `background`, by a fixed threshold."""
    luma = [np.asarray(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), dtype=np.uint8) for frame in frames]
    height, width = luma[0].shape
    half = (max(width // 2, 1), max(height // 2, 1))
    low = [cv2.cvtColor(cv2.resize(one, half, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2YCrCb) for one in frames]
    red, blue = ([np.asarray(one[..., channel], dtype=np.uint8) for one in low] for channel in (1, 2))
    luma, red, blue = in_one_light(luma, red, blue)
    masks = np.zeros(frames.shape[:3], dtype=np.bool_)
    if len(frames) == 1:
        return masks
    behinds = [[behind(plane, number) for number in range(len(frames))] for plane in (luma, red, blue)]
    if len(frames) > 2:
        small = [np.asarray(cv2.resize(one, half, interpolation=cv2.INTER_AREA), dtype=np.uint8) for one in luma]
        found = ground_reference([small, red, blue])
        behinds = [[at(plane, found, which)] * len(frames) for which, plane in enumerate((luma, red, blue))]
    for number in range(len(frames)):
        planes = zip((luma, red, blue), behinds, strict=True)
        difference, *colours = (outside(of[number], background[number]) for of, background in planes)
        colour = cv2.resize(np.maximum(*colours), (width, height), interpolation=cv2.INTER_LINEAR)
        masks[number] = filled(np.maximum(difference, colour), options)
    return masks


@dataclass
class Ground:
    """As `pipeline.masks.backdrop.ChosenGround`."""

    differs: NDArray[np.bool_]
    is_left: NDArray[np.bool_]
    is_hidden: NDArray[np.bool_]
    around: list[Floats]


def ground_reference(planes: Sequence[Sequence[Picture]]) -> Ground:
    """Where the median of luma and chroma is not the ground, of a camera that rests."""
    medians = [behind(plane, 0).astype(float) for plane in planes]
    near, num_frames = np.ones((3, 3), bool), len(planes[0])
    differs = np.zeros((num_frames, *medians[0].shape), bool)
    for number in range(num_frames):
        far = [outside(plane[number], median.astype(np.uint8)) for plane, median in zip(planes, medians, strict=True)]
        differs[number] = grown(grown(np.max(far, axis=0) > 10, near, shrink=True), near)
    count = differs.sum(axis=0)
    changes = count > 0
    closed = grown(grown(changes, ellipse(9)), ellipse(9), shrink=True)
    inside = without_holes(closed)
    is_enclosed, is_around = inside & ~changes, ~grown(grown(inside, near), near)
    none = np.zeros_like(changes)
    if is_around.mean() < 1 / 3:
        return Ground(differs, none, none, medians)
    around = spread(medians, is_around)
    left = [mean_where(plane, differs) for plane in planes]
    from_median, from_left = distance(medians, around), distance(left, around)
    ratio = np.minimum(0.5 + 0.5 * count / (num_frames / 2), 0.95)
    is_left = changes & (smoothed(from_left, changes) + 4 < ratio * smoothed(from_median, changes))
    if (changes & ~is_left).any():
        passing = spread(left, changes & ~is_left)
        is_left &= smoothed(distance(medians, passing), changes) < 0.6 * smoothed(from_median, changes)
    is_left = changes & (2 * sums(is_left, 7) > sums(changes, 7))
    thing = spread([np.where(is_left, one, other) for one, other in zip(medians, left, strict=True)], changes)
    to_thing, to_around = (smoothed(distance(medians, other), is_enclosed) for other in (thing, around))
    is_hidden = is_enclosed & (to_thing < 0.6 * to_around) & (to_around > 15)
    labels = label(is_left | is_hidden, connectivity=2)
    for number in range(1, int(labels.max()) + 1):
        region = grown(grown(labels == number, near), near)
        if (differs & ~is_left & region).any(axis=(1, 2)).mean() < 1 / 3:
            is_left[labels == number] = is_hidden[labels == number] = False
    return Ground(differs, is_left, is_hidden, around)


def at(plane: Sequence[Picture], found: Ground, which: int) -> Picture:
    """The background of a plane, of this size or of twice this size."""
    median = behind(plane, 0)
    differs = np.stack([large(one, median) for one in found.differs]) > 0
    background = np.where(large(found.is_left, median) > 0, np.round(mean_where(plane, differs)), median)
    around = large(np.round(found.around[which]), median, cv2.INTER_LINEAR)
    return np.where(large(found.is_hidden, median) > 0, around, background).astype(np.uint8)


def large(picture: NDArray[np.bool_] | Floats, like: Picture, how: int = cv2.INTER_NEAREST) -> Picture:
    """A picture at the size of another one."""
    rows, columns = like.shape
    scale = np.array([picture.shape[1] / columns, picture.shape[0] / rows])
    matrix = np.column_stack([np.diag(scale), 0.5 * scale - 0.5])
    flags, border = how | cv2.WARP_INVERSE_MAP, cv2.BORDER_REPLICATE
    done = cv2.warpAffine(picture.astype(np.uint8), matrix, (columns, rows), flags=flags, borderMode=border)
    return np.asarray(done, dtype=np.uint8)


def mean_where(plane: Sequence[Picture], chosen: NDArray[np.bool_]) -> Floats:
    total = np.where(chosen, np.stack(plane), 0).sum(axis=0)
    return np.asarray(total / np.maximum(chosen.sum(axis=0), 1))


def distance(some: Sequence[Floats], others: Sequence[Floats]) -> Floats:
    return np.asarray(np.abs(np.stack(some) - np.stack(others)).sum(axis=0))


def smoothed(values: Floats, where: NDArray[np.bool_]) -> Floats:
    return np.asarray(sums(values * where, 3) / np.maximum(sums(where, 3), 1))


def spread(planes: Sequence[Floats], is_known: NDArray[np.bool_]) -> list[Floats]:
    """The mean of the known pixels in the smallest square of which a tenth is known, pixel by pixel."""
    sides = [9]
    while sides[-1] <= 2 * max(is_known.shape):
        sides.append(2 * sides[-1] - 1)
    num_known = np.stack([sums(is_known, side) for side in sides])
    enough = num_known >= 0.1 * np.array(sides)[:, None, None] ** 2
    enough[-1] = True
    first = enough.argmax(axis=0)[None]
    means = [np.stack([sums(plane * is_known, side) for side in sides]) / np.maximum(num_known, 1) for plane in planes]
    return [np.take_along_axis(mean, first, axis=0)[0] for mean in means]


def sums(values: NDArray[np.bool_] | Floats, side: int) -> Floats:
    """Sums over the square around each pixel; outside is 0."""
    total = np.pad(values.astype(float), side).cumsum(axis=0).cumsum(axis=1)
    low, high = side - side // 2 - 1, side + side // 2
    rows, columns = values.shape

    def corner(y: int, x: int) -> Floats:
        return total[y : y + rows, x : x + columns]

    return corner(high, high) - corner(low, high) - corner(high, low) + corner(low, low)


def in_one_light(luma: list[Picture], *chroma: list[Picture]) -> tuple[list[Picture], ...]:
    """Each picture as it is in the light of its background; the first of two pictures keeps its own."""
    found = [light_change(behind(luma, number), picture) for number, picture in enumerate(luma)]
    if len(luma) < 3:
        found[0] = None
    of_luma = [np.arange(256) if one is None else levels_after(1 / one[0], -one[1] / one[0]) for one in found]
    of_chroma = [np.arange(256) if one is None else levels_after(1 / one[0], 0.0, 128) for one in found]
    return (
        [levels[picture].astype(np.uint8) for levels, picture in zip(of_luma, luma, strict=True)],
        *([levels[one].astype(np.uint8) for levels, one in zip(of_chroma, plane, strict=True)] for plane in chroma),
    )


def behind(pictures: Sequence[Picture], number: int) -> Picture:
    """The median; of two pictures, each is the background of the other."""
    if len(pictures) == 2:
        return pictures[1 - number]
    return np.asarray(np.sort(np.stack(pictures), axis=0)[(len(pictures) - 1) // 2])


def outside(picture: Picture, background: Picture) -> Picture:
    """How far each pixel is from the range of the 3 x 3 pixels of the background around it."""
    far = np.zeros(picture.shape, dtype=np.uint8)
    for y, x in np.ndindex(*picture.shape):
        around = background[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2].astype(int)
        far[y, x] = max(int(picture[y, x]) - around.max(), around.min() - int(picture[y, x]), 0)
    return far


def filled(difference: Picture, options: MaskOptions) -> NDArray[np.bool_]:
    """A mask from a difference."""
    strong, weak = (cleaned(difference > share * options.tau, options) for share in (1.0, 0.5))
    if options.fill in (Fill.HYSTERESIS, Fill.BOTH) and strong.any():
        labels = label(weak | strong, connectivity=2)
        strong = np.isin(labels, np.unique(labels[strong]))
    if options.fill in (Fill.CONTOURS, Fill.BOTH):
        strong = without_holes(strong)
    return strong


def cleaned(moved: NDArray[np.bool_], options: MaskOptions) -> NDArray[np.bool_]:
    return keep_large(open_and_close(moved, ellipse(options.kernel_size)), options.min_area)


def without_holes(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """With all that no way outside the mask, over edges of pixels, connects with the border."""
    ground = label(~np.pad(mask, 1), connectivity=1)
    inner: NDArray[np.bool_] = (ground != ground[0, 0])[1:-1, 1:-1]
    return inner
