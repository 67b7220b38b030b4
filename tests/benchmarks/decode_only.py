"""Decoding and resizing by fda in one process a core, and nothing else.

`python -m tests.benchmarks.decode_only FOLDER NUM_FRAMES`.
"""

from __future__ import annotations

import multiprocessing
import sys
from functools import partial
from pathlib import Path

from pipeline.video.decoding import DecodeOptions, decode_clip
from tests.benchmarks.machine import NUM_CORES


def decode(path: Path, num_frames: int) -> int:
    """Decode one clip, and drop it."""
    return len(decode_clip(path, DecodeOptions(num_frames)).sample.frames)


def main() -> None:
    """Run over a folder."""
    folder, num_frames = Path(sys.argv[1]), int(sys.argv[2])
    with multiprocessing.get_context("spawn").Pool(NUM_CORES) as pool:
        for _ in pool.imap_unordered(partial(decode, num_frames=num_frames), sorted(folder.iterdir())):
            pass


if __name__ == "__main__":
    main()
