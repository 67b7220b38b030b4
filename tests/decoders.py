"""Decoders for tests that misbehave in the decoder process, as a file name says.

Each decoder process of such a test imports this: nothing here imports what decodes real videos.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from threading import Timer

import numpy as np

from pipeline.video.clips import ClipSample, DecodedClip, SourceFacts
from pipeline.video.options import WHOLE_VIDEO, DecodeOptions, Window

_turns = count(1)


def still_clip(path: Path, options: DecodeOptions, window: Window = WHOLE_VIDEO) -> DecodedClip:
    """A clip as long as asked for, made at once; every value is that of the last digit in the file's stem, or 0."""
    digits = [int(letter) for letter in path.stem if letter.isdigit()]
    shape = (options.num_frames, options.image_size, options.image_size, 3)
    index = np.arange(options.num_frames)
    frames = np.full(shape, digits[-1] if digits else 0, dtype=np.uint8)
    return DecodedClip(
        ClipSample(frames, index / 25, index), SourceFacts(1.0, 25.0, "none", 25, 32, 32), truncated=False
    )


def still_clips(path: Path, options: DecodeOptions, windows: Sequence[Window]) -> Iterator[DecodedClip]:
    """A still clip for each window of a file."""
    return (still_clip(path, options, window) for window in windows)


def misbehave(path: Path, options: DecodeOptions, window: Window = WHOLE_VIDEO) -> DecodedClip:
    """Do what the stem of the file says, for real; any other file gives a still clip."""
    match path.stem.split("_")[0]:
        case "hang":
            time.sleep(3600)
        case "stuck":  # in C code that does not give other threads their turn
            ctypes.PyDLL(None).sleep(3600)
        case "segfault":
            ctypes.string_at(0)
        case "abort":
            os.abort()
        case "exit":
            os._exit(3)
        case "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        case "signal":
            os.kill(os.getpid(), int(path.stem.split("_")[1]))
        case "once" if not (mark := path.with_suffix(".killed")).exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        case "capped":  # by a batch system or a kernel that does not overcommit, below the decoder's own limit
            import psutil

            most = psutil.Process().memory_info().vms + (64 << 20)
            resource.setrlimit(resource.RLIMIT_AS, (most, resource.getrlimit(resource.RLIMIT_AS)[1]))
            np.ones(1 << 28, dtype=np.uint8)
        case "files":  # all that the process may open are open
            with _limited(resource.RLIMIT_NOFILE, 3):
                os.open(os.devnull, os.O_RDONLY)
        case "kernel":  # which has no memory for what it keeps about a file
            raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
        case "stopped":
            os.kill(os.getpid(), signal.SIGSTOP)
        case "greedy":
            np.ones(1 << 40, dtype=np.uint8)
        case "damage":  # which shows a little later
            Timer(0.1, os.abort).start()
        case "bug":
            raise ZeroDivisionError("a frame rate of 0")
        case "turn":  # a clip whose every value is how many of these the process has been asked for
            return still_clip(Path(f"{next(_turns)}.mp4"), options)
        case "print":
            print("what a library prints", flush=True)
            os.write(1, b"what a C library prints\n")
        case "slow":
            time.sleep(0.3)
        case "gate":  # until a test opens it
            path.with_suffix(".begun").touch()
            while not path.with_suffix(".open").exists():
                time.sleep(0.005)
        case "beside":  # a clip whose every value is how many of these are being decoded
            mark = path.with_suffix(".running")
            mark.touch()
            time.sleep(0.02)
            number = sum(1 for _ in path.parent.glob("*.running"))
            mark.unlink()
            return still_clip(Path(f"{number}.mp4"), options)
        case "terminated":  # by a batch system, with all of its job
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGINT)
    return still_clip(path, options)


def count_windows(path: Path, options: DecodeOptions, windows: Sequence[Window]) -> Iterator[DecodedClip]:
    """Clips whose every value is how many windows are asked for together."""
    return (still_clip(Path(f"{len(windows)}.mp4"), options) for _ in windows)


def misbehave_together(path: Path, options: DecodeOptions, windows: Sequence[Window]) -> Iterator[DecodedClip]:
    """Of several windows of a file, do what its stem says at the second one; alone, each gives a still clip."""
    yield still_clip(path, options)
    if len(windows) > 1:
        yield misbehave(path, options)


def misbehave_in_turn(path: Path, options: DecodeOptions, windows: Sequence[Window]) -> Iterator[DecodedClip]:
    """As `misbehave`, for each window of a file."""
    return (misbehave(path, options, window) for window in windows)


@contextmanager
def _limited(kind: int, value: int) -> Iterator[None]:
    before = resource.getrlimit(kind)
    resource.setrlimit(kind, (value, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(kind, before)


class KilledWhileItStarts:
    """A function for decoder processes that are killed when they load it."""

    def __call__(self, path: Path, options: DecodeOptions, windows: Sequence[Window]) -> Iterator[DecodedClip]:
        raise AssertionError("no process gets so far")

    def __reduce__(self) -> tuple[Callable[[], None], tuple[()]]:
        return _die, ()


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
