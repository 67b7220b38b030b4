"""Windows of one file, drawn at random, and whether their clips are those that each gives alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from random import Random

import cv2
import numpy as np

from pipeline.video.clips import DecodedClip, VideoError
from pipeline.video.decoding import decode_clip
from pipeline.video.options import DecodeOptions, Keep, Sampling, SamplingMode, Window
from pipeline.video.windows import decode_windows

Outcome = DecodedClip | VideoError


def some_windows(chance: Random, seconds: float) -> list[Window]:
    """From two to six, which may overlap, begin after the end of the video, and be in any order."""
    windows = []
    for _ in range(chance.randint(2, 6)):
        start = chance.choice([0.0, chance.uniform(0, 1.2 * seconds)])
        windows.append(Window(start, chance.choice([None, start + chance.uniform(0.01, seconds)])))
    return windows


def some_options(chance: Random) -> DecodeOptions:
    """Any sampling, few frames and many."""
    mode = chance.choice(list(SamplingMode))
    num_frames = 6 if mode is SamplingMode.PROMPT_SWITCH else chance.choice([1, 3, 6, 12])
    fps, keep = Fraction(chance.choice([1, 5, 20])), chance.choice(list(Keep))
    sampling = Sampling(mode, fps if mode.takes_fps else Fraction(1), keep if mode.takes_keep else Keep.UNIFORM)
    return DecodeOptions(num_frames, 32, sampling=sampling, neighbours=chance.random() < 0.3)


def alone(path: Path, options: DecodeOptions, window: Window) -> Outcome:
    """What a window gives by itself."""
    try:
        return decode_clip(path, options, window)
    except VideoError as error:
        return error


def trusted_pictures(path: Path, sound: Path, size: int) -> frozenset[bytes]:
    """The pictures of a damaged file, in colour and in grey, that are right when they are the first to be decoded.

    The damage of others was not reported by their decoder: they may contain anything that was decoded before them. The
    last picture of the file is left out.
    """
    clip = decode_clip(sound, DecodeOptions(256, size)).sample
    right = {picture.tobytes() for picture in clip.frames}
    trusted, times = set(), np.unique(clip.pts_seconds).tolist()
    for start, end in zip(times, [*times[2:], None], strict=False):  # motion needs two frames
        found = alone(path, DecodeOptions(2, size), Window(start, end))
        if isinstance(found, DecodedClip) and (picture := found.sample.frames[0]).tobytes() in right:
            trusted |= {picture.tobytes(), cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).tobytes()}
    return frozenset(trusted)


def check_same_outcome(outcome: Outcome, expected: Outcome, must_be_same: Callable[[bytes], bool] = bool) -> None:
    """Refuse another clip, were it by one bit, and another reason for none.

    Args:
        outcome: Of a window.
        expected: Of the same one alone.
        must_be_same: Asked about pictures of `expected` that differ. By default, all must be the same.
    """
    if isinstance(outcome, VideoError) or isinstance(expected, VideoError):
        assert str(outcome) == str(expected)
        return
    assert (outcome.source, outcome.truncated, outcome.notes) == (expected.source, expected.truncated, expected.notes)
    for name in ("pts_seconds", "frame_index"):
        np.testing.assert_array_equal(getattr(outcome.sample, name), getattr(expected.sample, name))
    for name in ("frames", "next_grey"):
        found, wanted = getattr(outcome.sample, name), getattr(expected.sample, name)
        assert (found is None) == (wanted is None)
        if wanted is not None:
            for one, other in zip(found, wanted, strict=True):
                if not np.array_equal(one, other) and must_be_same(other.tobytes()):
                    np.testing.assert_array_equal(one, other)


def check_windows(
    path: Path, options: DecodeOptions, windows: Sequence[Window], sound: Path | None = None
) -> list[Outcome]:
    """Refuse windows that end otherwise in one pass than alone; how they end.

    Args:
        path: The file.
        options: How to decode it.
        windows: Of it.
        sound: What the file was before it was damaged: `trusted_pictures` must be the same.
    """
    outcomes = list(decode_windows(path, options, windows))
    assert len(outcomes) == len(windows)

    def is_trusted(picture: bytes) -> bool:
        return sound is None or picture in trusted_pictures(path, sound, options.image_size)

    for window, outcome in zip(windows, outcomes, strict=True):
        check_same_outcome(outcome, alone(path, options, window), is_trusted)
    return outcomes
