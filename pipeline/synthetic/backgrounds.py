"""Clips of one's own as grounds: which one is behind each generated clip, and its frames."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.datasets.reading.files import files_below, is_video, require_folder
from pipeline.errors import InputError
from pipeline.isolation.decoder import DecodeRequest, IsolatedDecoder
from pipeline.synthetic.options import BackgroundMotion, GenerateOptions
from pipeline.synthetic.planning import ClipPlan, Draw
from pipeline.synthetic.rendering import num_frames_of
from pipeline.video.clips import VideoError
from pipeline.video.options import DecodeOptions, Keep, Sampling, SamplingMode, Window

_MAX_TRIED = 10
"""Videos in a row that may fail before the folder is given up."""


def background_files(folder: Path) -> tuple[str, ...]:
    """The videos in a folder and below it, by their paths in it, sorted.

    Raises:
        InputError: There is none.
    """
    require_folder(folder)
    found = tuple(sorted(filter(is_video, files_below(folder))))
    if not found:
        raise InputError(f"{folder} contains no video to be a background: give a folder of videos (.mp4, .webm, ...)")
    return found


def digest_of(folder: Path, files: Sequence[str]) -> str:
    """The sha256 of the names and sizes of videos: what two runs must agree on, wherever the folder lies."""
    listed = "".join(f"{name}\0{(folder / name).stat().st_size}\n" for name in files)
    return hashlib.sha256(listed.encode(errors="surrogateescape")).hexdigest()


def read_background(
    options: GenerateOptions, files: Sequence[str], plan: ClipPlan
) -> tuple[str, list[NDArray[np.uint8]]]:
    """The video behind a clip and its frames: one that stays, or as many as there are of the clip.

    One that is shorter than the clip is played to and fro, so that there is no cut. Of one that cannot be decoded, the
    next in the folder takes the place.

    Returns:
        Its path in the folder, and its frames, each of shape (side, side, 3), RGB: the middle square.

    Raises:
        InputError: Ten in a row cannot be decoded; the message names the last.
    """
    assert options.background is not None, "only called with a folder of backgrounds"
    amount = options.amount
    num_frames = num_frames_of(plan.settings, amount)
    is_frozen = options.background_motion is BackgroundMotion.FROZEN
    how = DecodeOptions(
        num_frames=1 if is_frozen else num_frames,
        image_size=max(amount.width, amount.height),
        sampling=Sampling(SamplingMode.FPS, Fraction(amount.fps), Keep.HEAD),
    )
    # Whole seconds, rounded up: no more of a film of two hours is decoded than the clip is long.
    window = Window(0.0, math.ceil(num_frames / amount.fps))
    first = int(plan.generator(Draw.BACKGROUND).integers(len(files)))
    failed: VideoError | None = None
    tried = [files[(first + number) % len(files)] for number in range(min(_MAX_TRIED, len(files)))]
    for name in tried:
        # One by one: told of the next as well, the decoder would begin with it, and be of no use for the next clip.
        (answer,) = IsolatedDecoder().decode([DecodeRequest(options.background / name, how, window)])
        if isinstance(answer.outcome, VideoError):
            failed = answer.outcome
            continue
        sample = answer.outcome.sample
        # Slots that a shorter video does not fill have -1.
        shown = list(sample.frames[sample.frame_index >= 0])
        return name, _to_and_fro(shown, 1 if is_frozen else num_frames)
    raise InputError(f"{options.background}: no background of {len(tried)} tried can be decoded; {tried[-1]}: {failed}")


def _to_and_fro(frames: Sequence[NDArray[np.uint8]], number: int) -> list[NDArray[np.uint8]]:
    """So many frames, played back and forth if there are fewer.

    >>> [int(frame) for frame in _to_and_fro([np.uint8(0), np.uint8(1), np.uint8(2)], 7)]
    [0, 1, 2, 1, 0, 1, 2]
    """
    # There and back without the two ends twice: 0 1 2 1 | 0 1 2 1
    period = max(1, 2 * len(frames) - 2)
    places = (number_passed % period for number_passed in range(number))
    return [frames[min(place, period - place)] for place in places]
