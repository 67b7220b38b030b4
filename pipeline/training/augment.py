"""Random changes to clips in training. Frames and masks get the same geometry, unless options say otherwise."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.training.cropping import crop_frames, crop_masks, draw_crop
from pipeline.training.options import BatchOptions
from store.clips.layout import Masks, all_moving


def augment(
    frames: NDArray[np.uint8], masks: Masks, options: BatchOptions, rng: np.random.Generator, block_size: int
) -> None:
    """Change a clip in place.

    Args:
        frames: Shape (num_frames, height, width, 3); changed in place, so no other code may use them.
        masks: Shape (num_frames, height, width); likewise.
        options: What to do, and how often.
        rng: Of this clip alone, so that what is drawn does not depend on the clips beside it.
        block_size: Side of a block of `mask_dropout`, pixels.
    """
    if options.crop:
        crop = draw_crop(frames.shape[1], frames.shape[2], options.crop, rng)
        crop_frames(frames, crop)
        if options.align_masks:
            crop_masks(masks, crop)
    if options.flip and rng.random() < options.flip:
        _flip(frames)
        if options.align_masks:
            _flip(masks.view(np.uint8))
    if options.frame_jitter:
        offsets = _offsets(rng, options.frame_jitter)
        # Together: the camera moved. The edge of frames is repeated, but what moves there is not known.
        frames[:], masks[:] = shifted(frames, offsets), shifted(masks, offsets, fill=False)
    if options.mask_jitter:
        masks[:] = shifted(masks, _offsets(rng, options.mask_jitter), fill=False)
    if options.mask_dropout:
        # Also of soft masks, where 0 and 1 keep a likelihood or clear it.
        masks[:] = masks * _blocks(masks.shape, block_size, options.mask_dropout, rng)
    if options.alpha_ones and rng.random() < options.alpha_ones:
        # Last, so that it is all ones: Alpha-CLIP's neutral input has no gaps.
        masks[:] = all_moving(masks)


def _flip(pictures: NDArray[np.uint8]) -> None:
    """Mirror pictures left to right, in place: NumPy takes many times as long as OpenCV for it."""
    for picture in pictures:
        picture[:] = cv2.flip(picture, 1)


def shifted(pictures: NDArray[np.generic], offsets: tuple[int, int], fill: bool | None = None) -> NDArray[np.generic]:
    """Pictures moved down and to the right by whole pixels, or up and to the left by negative ones.

    >>> shifted(np.arange(3).reshape(1, 1, 3), (0, 1)).tolist()
    [[[0, 0, 1]]]

    Args:
        pictures: Shape (num_pictures, height, width, ...).
        offsets: Down, and to the right.
        fill: Value of pixels that moved in from outside; None: the edge is repeated.
    """
    for axis, offset in zip((1, 2), offsets, strict=True):
        size = pictures.shape[axis]
        sources = np.arange(size) - offset
        pictures = pictures.take(np.clip(sources, 0, size - 1), axis=axis)
        if fill is not None:
            outside = [slice(None)] * pictures.ndim
            outside[axis] = np.flatnonzero((sources < 0) | (sources >= size))  # type: ignore[call-overload]
            pictures[tuple(outside)] = fill
    return pictures


def _offsets(rng: np.random.Generator, most: int) -> tuple[int, int]:
    down, right = rng.integers(-most, most, size=2, endpoint=True)
    return int(down), int(right)


def _blocks(shape: tuple[int, ...], block_size: int, dropped: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    """A mask that is False in dropped blocks: shape (num_frames, height, width)."""
    num_frames, height, width = shape
    # Rounded up: blocks at the edge are cut.
    kept = rng.random((num_frames, -(-height // block_size), -(-width // block_size))) >= dropped
    whole: NDArray[np.bool_] = kept.repeat(block_size, axis=1).repeat(block_size, axis=2)[:, :height, :width]
    return whole
