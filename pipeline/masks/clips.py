"""The masks of one clip, and a summary of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.masks.background import BackgroundChanges
from pipeline.masks.options import Difference, MaskOptions, WhenEmpty, WhenFull
from pipeline.masks.pairs import PairChanges
from pipeline.masks.shaping import Shaper
from pipeline.masks.shots import Shot, shots_of
from pipeline.masks.soft import stretch
from store.clips.layout import SURE, Masks, moving


@dataclass(frozen=True, slots=True)
class MaskSummary:
    """Statistics of a clip's masks, before the rules for empty and full masks are applied."""

    num_masks: int
    coverage: float
    """Mean share of the picture that a mask covers, 0..1."""
    components: float
    """Mean number of 8-connected components of a mask."""
    num_empty: int
    """Masks in which nothing moves."""
    num_full: int
    """Masks that cover `full_coverage` of the picture or more."""
    camera_motion: bool | None
    """Whether the camera moved, by `CameraWatch`; None if that cannot be detected."""
    num_unregistered: int | None
    """Pairs of pictures whose camera motion was not found, and so not removed; None if it was not looked for."""
    picked: Difference | None
    """The kind of difference that `auto` picked; None if another was asked for."""


@dataclass(frozen=True, slots=True)
class ClipMasks:
    """The masks of one clip."""

    masks: Masks
    """Shape (num_frames, height, width); True where something moves. Soft ones: how likely it moves, 0..255."""
    summary: MaskSummary


def clip_masks(
    frames: NDArray[np.uint8],
    options: MaskOptions,
    next_grey: NDArray[np.uint8] | None = None,
    out: Masks | None = None,
) -> ClipMasks:
    """Masks of what moves in each frame.

    By default, what changes from each frame to the next. With `G` the frames in grey (BT.601 weights, as `cv2.cvtColor`
    rounds them): `D_t = |G_{t+1} - G_t|`, `D_t > threshold`, closing, opening, then components smaller than `min_area`
    are dropped. The last frame has no successor and gets the mask before it, which is that of its difference to its
    predecessor. A clip of one frame has no difference and gets an empty mask. With `difference="consecutive"`, `D_t =
    |next_grey_t - G_t|` for every frame. With the other kinds, `D_t` is how far a frame is from its background: see
    `pipeline.masks.background`.

    With `cuts`, this is done shot by shot. With `fill`, components grow to whole objects after the cleaning: see
    `pipeline.masks.shaping`.

    With `compensation`, the second picture of a pair is first moved back by the motion of the camera; a pixel
    without a counterpart is then ignored (`D = 0`). If that motion cannot be found, the pair is compared as it is.

    With `threshold_mode="noise"`, the threshold of a pair is `max(noise_floor, noise_sigmas * sigma)` grey levels, with
    `sigma` the noise of its difference by `noise_sigma`: robust, and hardly touched by what moves.

    With `soft`, `D > threshold` becomes how likely each pixel moves: see `pipeline.masks.soft`. The summary, and which
    masks are empty or full, are those of the binary masks.

    Last, each mask that came out empty or full is replaced as `when_empty` and `when_full` say.

    Args:
        frames: Shape (num_frames, height, width, 3), RGB.
        options: How they are made.
        next_grey: Shape (num_frames, height, width): the picture after each frame in the video. Needed by
            `difference="consecutive"`, not used otherwise.
        out: Shape (num_frames, height, width), C order, all False, or all 0 and uint8 for soft masks: the output; by
            default a new array.

    Raises:
        ValueError: `frames` has another shape or type, or is empty; or `next_grey` is needed and missing.
    """
    if frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype != np.uint8 or frames.size == 0:
        raise ValueError(f"expected (num_frames, height, width, 3) uint8, got {frames.shape} {frames.dtype}")
    # OpenCV writes bytes; as 0 and 1 they are the bool array that is returned, without a copy.
    masks = np.zeros(frames.shape[:3], dtype=np.uint8) if out is None else out.view(np.uint8)
    num_components = np.zeros(len(frames), dtype=np.int64)
    shots = shots_of(frames, options.cutting)
    changes = _changes(frames, options, shots, next_grey)
    shaper = Shaper(options, *frames.shape[1:3])
    for number, change in changes:
        num_components[number] = shaper.shape(change, masks[number])
    if options.difference == Difference.SAMPLED:  # one pair less than frames
        for last in (shot.stop - 1 for shot in shots if len(shot) > 1):
            # The last frame of each shot, since no pair leads out of it. A shot of one frame keeps its empty mask.
            masks[last], num_components[last] = masks[last - 1], num_components[last - 1]
    # (n,): one by one, because OpenCV counts one picture at a time.
    areas = np.array([cv2.countNonZero(mask) for mask in (moving(masks) if options.soft else masks).view(np.uint8)])
    is_empty, is_full = areas == 0, areas >= options.full_coverage * masks[0].size
    summary = MaskSummary(
        num_masks=len(masks),
        coverage=int(areas.sum()) / masks.size,
        components=int(num_components.sum()) / len(masks),
        num_empty=int(is_empty.sum()),
        num_full=int(is_full.sum()),
        camera_motion=changes.watch.camera_moves(),
        num_unregistered=changes.num_unregistered,
        picked=changes.difference if options.difference == Difference.AUTO else None,
    )
    most = SURE if options.soft else 1
    if options.when_empty == WhenEmpty.ONES:
        masks[is_empty] = most
    if options.when_empty == WhenEmpty.STRETCH:
        for empty in np.flatnonzero(is_empty):
            stretch(masks[empty])
    if options.when_full != WhenFull.KEEP:
        masks[is_full] = most if options.when_full == WhenFull.ONES else 0
    return ClipMasks(masks if options.soft else masks.view(np.bool_), summary)


def _changes(
    frames: NDArray[np.uint8], options: MaskOptions, shots: Sequence[Shot], next_grey: NDArray[np.uint8] | None
) -> PairChanges | BackgroundChanges:
    if options.difference.is_of_pairs:
        return PairChanges(frames, options, shots, next_grey)
    return BackgroundChanges(frames, options, shots)
