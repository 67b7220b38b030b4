"""The script that people write: a pool of processes, OpenCV, and an npy file a video. Nothing of fda.

`python opencv_script.py TARGETS|ALL VIDEOS_FOLDER OUT_FOLDER NUM_FRAMES SIZE`: TARGETS grabs every frame and converts
those that are wanted, ALL reads and converts every frame.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from cv2.typing import MatLike


def picture(rgb: MatLike, size: int) -> MatLike:
    """Short side to `size`, then the centre."""
    height, width = rgb.shape[:2]
    scale = size / min(height, width)
    shape = (max(size, int(width * scale)), max(size, int(height * scale)))
    resized = cv2.resize(rgb, shape, interpolation=cv2.INTER_AREA)
    top, left = (resized.shape[0] - size) // 2, (resized.shape[1] - size) // 2
    return resized[top : top + size, left : left + size]


def decode(path: Path, out: Path, num_frames: int, size: int, *, read_all: bool) -> None:
    """Write the clip of one video."""
    capture = cv2.VideoCapture(str(path))
    total = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    wanted = set(((2 * np.arange(num_frames) + 1) * total // (2 * num_frames)).tolist())
    frames = []
    for number in range(total):
        found, bgr = capture.read() if read_all else (capture.grab(), None)
        if not found:
            break
        if number in wanted and not read_all:
            bgr = capture.retrieve()[1]
        if bgr is not None:
            rgb = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
            if number in wanted:
                frames.append(picture(rgb, size))
    capture.release()
    np.save(out / f"{path.stem}.npy", np.stack(frames))


def main() -> None:
    """Run over a folder."""
    mode, videos, out, num_frames, size = sys.argv[1:]
    Path(out).mkdir(parents=True)
    run = partial(decode, out=Path(out), num_frames=int(num_frames), size=int(size), read_all=mode == "ALL")
    with multiprocessing.Pool(os.cpu_count()) as pool:
        for _ in pool.imap_unordered(run, sorted(Path(videos).iterdir())):
            pass


if __name__ == "__main__":
    main()
