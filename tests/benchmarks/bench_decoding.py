"""Decoding 12 spread frames exactly, against OpenCV reading from the start and converting only these."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.video.decoding import DecodeOptions, decode_clip
from pipeline.video.resizing import resize_and_crop
from tests.benchmarks.measure import interleaved, print_ratios
from tests.videos import textured_frames, write_video

NUM_FRAMES, REPEATS = 12, 5
SIZES = {"240p": (240, 426), "360p": (360, 640), "720p": (720, 1280)}


def opencv_clip(path: Path, frame_index: Sequence[int]) -> NDArray[np.uint8]:
    """Grab every frame up to the last that is wanted, retrieve these."""
    capture = cv2.VideoCapture(str(path))
    wanted, frames = set(frame_index), []
    for number in range(max(wanted) + 1):
        capture.grab()
        if number in wanted:
            _, pixels = capture.retrieve()
            frames.append(resize_and_crop(np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), dtype=np.uint8), 224))
    capture.release()
    return np.stack(frames)


def main() -> None:
    """Measure, and print the ratios."""
    cv2.setNumThreads(1)
    options = DecodeOptions(num_frames=NUM_FRAMES)
    with tempfile.TemporaryDirectory() as folder:
        for name, (height, width) in SIZES.items():
            path = Path(folder) / f"{name}.mp4"
            write_video(path, textured_frames(240, height=height, width=width), options={"g": "250"})
            index = decode_clip(path, options).sample.frame_index.tolist()
            difference = np.abs(decode_clip(path, options).sample.frames.astype(int) - opencv_clip(path, index))
            methods: dict[str, Callable[[], object]] = {
                "OpenCV sequential": partial(opencv_clip, path, index),
                "fda": partial(decode_clip, path, options),
            }
            seconds = interleaved(methods, REPEATS)
            title = f"decoding {name}, H.264, 240 frames (largest difference {difference.max()})"
            print_ratios(title, seconds, "OpenCV sequential")


if __name__ == "__main__":
    main()
