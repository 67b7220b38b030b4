"""Masks of a video -> masks of its stored frames: through the same geometry as the frames."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.video.resizing import crop_start, resized_shape
from store.clips.layout import MOVES, SURE, Masks

_TWO_VALUES = ({0}, {1}, {SURE}, {0, 1}, {0, SURE})


def fitted_mask(mask: NDArray[np.bool_ | np.uint8], size: int, *, soft: bool) -> NDArray[np.bool_ | np.uint8]:
    """Bring the short side to `size` and cut out the middle square, as frames are.

    A pixel of the result is the mean of those that it covers; of a binary mask it moves from one half on.

    Args:
        mask: Shape (height, width), as the video is shown: upright, and with its proportions.
        size: Side of the stored frames, pixels.
        soft: Whether to give levels 0..255, or bool.

    Raises:
        InputError: Levels between 0 and 255 were given for a binary mask.
    """
    levels = _levels(mask, soft=soft)
    # The same functions as for frames, so that mask and frame agree to the pixel.
    height, width = resized_shape(mask.shape[0], mask.shape[1], size)
    if (height, width) != mask.shape:
        is_smaller = height < mask.shape[0]
        how = cv2.INTER_AREA if is_smaller else cv2.INTER_LINEAR
        levels = np.asarray(cv2.resize(levels, (width, height), interpolation=how), np.uint8)
    top, left = crop_start(height, size), crop_start(width, size)
    cut = levels[top : top + size, left : left + size]
    return np.asarray(cut, np.uint8) if soft else cut >= MOVES


def fitted_clip(masks: Iterable[NDArray[np.bool_ | np.uint8]], out: Masks) -> None:
    """`fitted_mask` of each mask of a clip, into `out`: shape (num_frames, size, size), bool or for soft masks uint8.

    Raises:
        InputError: See `fitted_mask`; or 0 and 1 were given for soft masks, which would all but vanish.
    """
    soft, highest = out.dtype == np.uint8, 0
    for number, mask in enumerate(masks):
        # Over the whole clip: a single mask with nothing but 0 and 1 may be one of faint motion.
        highest = max(highest, SURE if mask.dtype == np.bool_ else int(mask.max()))
        out[number] = fitted_mask(mask, out.shape[1], soft=soft)
    if soft and highest == 1:
        raise InputError("the masks have no level but 0 and 1, of 255: save bool, or 0 and 255")


def _levels(mask: NDArray[np.bool_ | np.uint8], *, soft: bool) -> NDArray[np.uint8]:
    """How likely each pixel moves, 0..255."""
    if mask.dtype == np.bool_:
        return np.where(mask, SURE, 0).astype(np.uint8)
    levels = mask.astype(np.uint8, copy=False)
    if soft:
        return levels
    found = set(np.unique(levels).tolist())
    # Two values are binary, whether they were saved as 0 and 1 or as 0 and 255.
    if found not in _TWO_VALUES:
        raise InputError(
            f"the masks have levels between 0 and 255, such as {sorted(found - {0, 1, SURE})[0]}: they are soft "
            "(--soft), or cut them before they are saved"
        )
    return np.where(levels > 0, SURE, 0).astype(np.uint8)
