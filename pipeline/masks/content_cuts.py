"""Cuts by PySceneDetect's ContentDetector, over the frames of a clip: an optional package."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.masks.options import Cuts, MaskOptions
from store.remedies import install_extra


def content_cuts(frames: NDArray[np.uint8]) -> list[int]:
    """The first frames of all shots but the first, by its default threshold.

    Args:
        frames: Shape (num_frames, height, width, 3), RGB.

    Raises:
        InputError: scenedetect is not installed.
    """
    detector_class, timecode_class = _scenedetect()
    detector = detector_class(min_scene_len=0)  # a shot may be of one sampled frame
    cuts: list[int] = []
    for number, frame in enumerate(frames):
        # It takes BGR. The rate is any: only numbers of frames are read from what it finds.
        found = detector.process_frame(timecode_class(number, 25.0), np.ascontiguousarray(frame[..., ::-1]))
        cuts += [cut.frame_num for cut in found]
    return sorted({cut for cut in cuts if 0 < cut < len(frames)})


def check_cuts(options: MaskOptions) -> None:
    """Refuse options that need scenedetect where it is not installed, before anything is made.

    Raises:
        InputError: It is so.
    """
    if options.cuts == Cuts.CONTENT:
        _scenedetect()


def _scenedetect() -> tuple[Any, Any]:
    """The classes of a detector and of a time."""
    try:
        from scenedetect import ContentDetector, FrameTimecode
    except ImportError as error:
        raise InputError(
            f"cuts 'content' needs scenedetect ({error}): {install_extra('scenedetect')}, or use cuts 'difference'"
        ) from error
    return ContentDetector, FrameTimecode
