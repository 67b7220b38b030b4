"""The definition of masks against a background, by NumPy and scikit-image: what `pipeline.masks` must equal."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.measure import label

from pipeline.masks.lighting import levels_after, light_change
from pipeline.masks.options import Fill, MaskOptions
from tests.reference_masks import ellipse, keep_large, open_and_close

Picture = NDArray[np.uint8]


def background_reference(frames: Picture, options: MaskOptions) -> NDArray[np.bool_]:
    """The masks of a clip of one shot by `background`, by a fixed threshold."""
    luma = [np.asarray(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), dtype=np.uint8) for frame in frames]
    height, width = luma[0].shape
    half = (max(width // 2, 1), max(height // 2, 1))
    low = [cv2.cvtColor(cv2.resize(one, half, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2YCrCb) for one in frames]
    red, blue = ([np.asarray(one[..., channel], dtype=np.uint8) for one in low] for channel in (1, 2))
    luma, red, blue = in_one_light(luma, red, blue)
    masks = np.zeros(frames.shape[:3], dtype=np.bool_)
    for number in range(len(frames) if len(frames) > 1 else 0):
        difference, *colours = (outside(of[number], behind(of, number)) for of in (luma, red, blue))
        colour = cv2.resize(np.maximum(*colours), (width, height), interpolation=cv2.INTER_LINEAR)
        masks[number] = filled(np.maximum(difference, colour), options)
    return masks


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
