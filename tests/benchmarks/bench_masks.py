"""Motion masks of 12 frames at 224 x 224, against scikit-image by the same definition; bits are compared as well."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.masks.clips import clip_masks
from pipeline.masks.options import Compensation, Difference, MaskOptions, ThresholdMode
from pipeline.video.decoding import decode_clip
from pipeline.video.options import DecodeOptions
from tests.benchmarks.measure import interleaved, print_ratios
from tests.benchmarks.quoted import quote
from tests.reference_masks import opencv_grey, reference
from tests.videos import textured_frames

NUM_FRAMES, SIZE, REPEATS, MAX_REAL = 12, 224, 7, 4
PEER = "scikit-image"
FOLDER = Path(os.environ.get("FDA_TEST_CLIPS", Path(__file__).resolve().parents[3] / "shared" / "data" / "clips"))


def synthetic_clips(count: int) -> list[NDArray[np.uint8]]:
    """A noisy, textured ground with three squares of another texture that run over it."""
    clips = []
    for seed in range(count):
        rng = np.random.default_rng(seed)
        ground = textured_frames(1, height=SIZE, width=SIZE, seed=seed)[0].astype(np.int16)
        frames = np.clip(ground + rng.normal(0, 3, (NUM_FRAMES, SIZE, SIZE, 3)), 0, 255).astype(np.uint8)
        for _ in range(3):
            (top, left), step = rng.integers(0, SIZE - 60, 2), rng.integers(-9, 10, 2)
            patch = rng.integers(0, 256, (48, 48, 3), dtype=np.uint8)
            for t, frame in enumerate(frames):
                y, x = np.clip([top + step[0] * t, left + step[1] * t], 0, SIZE - 48)
                frame[y : y + 48, x : x + 48] = patch
        clips.append(frames)
    return clips


def real_clips() -> list[NDArray[np.uint8]]:
    """Clips of the folder that FDA_TEST_CLIPS names, if it is there."""
    paths = sorted(path for path in FOLDER.rglob("*") if path.suffix in {".avi", ".mkv", ".mp4", ".webm"})
    return [decode_clip(path, DecodeOptions(NUM_FRAMES, SIZE)).sample.frames for path in paths[:MAX_REAL]]


def make_all(clips: Sequence[NDArray[np.uint8]], options: MaskOptions) -> None:
    """The masks of some clips."""
    for frames in clips:
        clip_masks(frames, options)


def reference_all(clips: Sequence[NDArray[np.uint8]]) -> None:
    """The same by scikit-image, its grey by OpenCV."""
    for frames in clips:
        reference(frames, MaskOptions(), opencv_grey)


def main(*, quick: bool = False) -> None:
    """Measure, and print the ratios."""
    cv2.setNumThreads(1)
    others = {
        "noise": MaskOptions(threshold_mode=ThresholdMode.NOISE),
        "translation": MaskOptions(compensation=Compensation.TRANSLATION),
        "similarity": MaskOptions(compensation=Compensation.SIMILARITY),
        "background": MaskOptions(difference=Difference.BACKGROUND),
        "registered": MaskOptions(difference=Difference.REGISTERED),
        "auto": MaskOptions(difference=Difference.AUTO),
        "soft": MaskOptions(soft=True),
    }
    for name, clips in (
        ("synthetic", synthetic_clips(2 if quick else 8)),
        ("real", real_clips()[: 2 if quick else None]),
    ):
        if not clips:
            continue
        for frames in clips:
            np.testing.assert_array_equal(clip_masks(frames, MaskOptions()).masks, reference(frames, MaskOptions()))
        methods = {PEER: partial(reference_all, clips), "fda": partial(make_all, clips, MaskOptions())}
        methods |= {f"fda, {other}": partial(make_all, clips, options) for other, options in others.items()}
        seconds = interleaved(methods, 1 if quick else REPEATS)
        per_clip = {method: value / len(clips) for method, value in seconds.items()}
        print_ratios(f"masks of a {name} clip, {NUM_FRAMES} frames of {SIZE} pixels, one thread", per_clip, PEER)
        if name == "synthetic":
            quote("masks.paper", per_clip[PEER] / per_clip["fda"], at_least=7)


if __name__ == "__main__":
    main()
