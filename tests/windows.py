"""Windows of one file, drawn at random, and whether their clips are those that each gives alone."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from random import Random

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
    sampling = Sampling(mode, Fraction(chance.choice([1, 5, 20])), chance.choice(list(Keep)))
    return DecodeOptions(num_frames, 32, sampling=sampling, neighbours=chance.random() < 0.3)


def alone(path: Path, options: DecodeOptions, window: Window) -> Outcome:
    """What a window gives by itself."""
    try:
        return decode_clip(path, options, window)
    except VideoError as error:
        return error


def check_same_outcome(outcome: Outcome, expected: Outcome) -> None:
    """Refuse another clip, were it by one bit, and another reason for none."""
    if isinstance(outcome, VideoError) or isinstance(expected, VideoError):
        assert str(outcome) == str(expected)
        return
    assert (outcome.source, outcome.truncated, outcome.notes) == (expected.source, expected.truncated, expected.notes)
    for name in ("frames", "pts_seconds", "frame_index", "next_grey"):
        np.testing.assert_array_equal(getattr(outcome.sample, name), getattr(expected.sample, name))


def check_windows(path: Path, options: DecodeOptions, windows: Sequence[Window]) -> list[Outcome]:
    """Refuse windows that end otherwise in one pass than alone; how they end."""
    outcomes = list(decode_windows(path, options, windows))
    assert len(outcomes) == len(windows)
    for window, outcome in zip(windows, outcomes, strict=True):
        check_same_outcome(outcome, alone(path, options, window))
    return outcomes
