"""Clips of another size than a model reads: frames and masks are resized together."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pipeline.mask_imports.fitting import fitted_mask
from pipeline.run.machine import num_cores
from pipeline.video.resizing import resize_and_crop
from store.arrays.reading import in_threads
from store.clips.reader import ClipBatch

_MOST_THREADS = 16


def resized(clips: ClipBatch, side: int) -> ClipBatch:
    """Resize frames and their masks, which are squares; slots without a frame are zeros.

    Frames go through the filter of CLIP's preprocessing, `pipeline.video.resizing.resize_and_crop`: Pillow's bicubic,
    which looks at all pixels where it makes fewer. Masks come to the size as imported ones do, by
    `pipeline.mask_imports.fitting.fitted_mask`: the mean of the pixels beneath, or bilinear; a binary mask moves from
    one half on, and stays binary.

    Args:
        clips: Clips.
        side: Of the frames to make, pixels.

    >>> frames, masks = np.zeros((1, 1, 4, 4, 3), np.uint8), np.zeros((1, 1, 4, 4), np.bool_)
    >>> masks[..., :2] = True
    >>> clips = ClipBatch(("a",), np.array([0]), frames, masks, np.ones((1, 1), np.bool_))
    >>> resized(clips, 2).masks[0, 0].tolist(), resized(clips, 8).frames.shape
    ([[True, False], [True, False]], (1, 1, 8, 8, 3))
    """
    if clips.frames.shape[2:4] == (side, side):
        return clips
    frames = np.zeros((*clips.is_frame.shape, side, side, 3), np.uint8)
    masks = np.zeros((*clips.is_frame.shape, side, side), clips.masks.dtype)
    is_soft = masks.dtype == np.uint8
    # (clip, slot) of each frame: one a task, as clips are few and frames many
    slots: list[list[int]] = np.argwhere(clips.is_frame).tolist()

    def resize(number: int) -> None:
        clip, slot = slots[number]
        frames[clip, slot] = resize_and_crop(clips.frames[clip, slot], side)
        masks[clip, slot] = fitted_mask(clips.masks[clip, slot], side, soft=is_soft)

    in_threads(resize, len(slots), min(_MOST_THREADS, num_cores()))
    return replace(clips, frames=frames, masks=masks)
