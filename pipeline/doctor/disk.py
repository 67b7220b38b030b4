"""How fast the disk of a folder is, and how much room it has. Nothing is left behind."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from pipeline.doctor.checks import Check, State, reason

GROUP = "disk"
BLOCK = 4 << 20
MOST_BYTES = 64 << 20
"""What is written at most."""
WRITING_SECONDS, FLUSHING_SECONDS = 0.8, 0.3
"""How long each is tried; both end after one block on a disk that is slower."""
SMALL = 4096
LEAST_FREE = 2 << 30
LEAST_SPEED, MOST_FLUSH_SECONDS = 30e6, 0.05
"""Bytes a second, and seconds a small flush: below, the disk and not the decoding sets the pace of a run."""


def check(place: str | None) -> Iterator[Check]:
    """Of the folder where a store is, or would be; of the current one where none is given."""
    if place is not None and "://" in place:
        return
    folder = nearest_folder(Path(place or "."))
    usage = shutil.disk_usage(folder)
    free = f"{usage.free / 2**30:,.1f} of {usage.total / 2**30:,.1f} GiB"
    if usage.free < LEAST_FREE:
        remedy = "free some, or give a store elsewhere: it may have 1.8 MB a video"
        yield Check(GROUP, "free", State.WARNING, f"{free} at {folder}", remedy=remedy)
    else:
        yield Check(GROUP, "free", State.OK, f"{free} at {folder}")
    if 0 < usage.free < 2 * MOST_BYTES:
        return  # to try it would fill it
    try:
        with tempfile.TemporaryFile(dir=folder, buffering=0) as file:  # without a name: a kill leaves nothing either
            yield _speed(*_measured(file))
    except OSError as error:
        found = _refused(folder, error)
        remedy = "commands that only read work; to write, choose another folder or change its permissions"
        yield Check(GROUP, "speed", State.WARNING, found, remedy=remedy)


def why_not_writable(folder: Path) -> str | None:
    """Why this user cannot write into a folder, in words; None if nothing is in the way."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            return None
    except OSError as error:
        return _refused(folder, error)


def _refused(folder: Path, error: OSError) -> str:
    return f"this user cannot write into {folder}: {error.strerror or reason(error)}"


def nearest_folder(path: Path) -> Path:
    """The path, or the nearest folder above it that exists.

    >>> str(nearest_folder(Path("/no-such-folder/store")))
    '/'
    """
    path = path.absolute()
    return next((one for one in (path, *path.parents) if one.is_dir()), Path(path.anchor))


def _measured(file: IO[bytes]) -> tuple[float, float, float]:
    """Bytes a second written, seconds a small flush, bytes a second read."""
    block, began, num_bytes = os.urandom(BLOCK), time.perf_counter(), 0  # what a disk that compresses cannot make small
    while num_bytes < MOST_BYTES and (num_bytes == 0 or time.perf_counter() - began < WRITING_SECONDS):
        num_bytes += os.pwrite(file.fileno(), block, num_bytes)
        os.fsync(file.fileno())
    writing = num_bytes / (time.perf_counter() - began)
    began, num_flushes = time.perf_counter(), 0
    while num_flushes == 0 or time.perf_counter() - began < FLUSHING_SECONDS:
        # Over what is there, so that the file does not grow and only the flush is measured.
        os.pwrite(file.fileno(), block[:SMALL], num_flushes * SMALL % num_bytes)
        os.fsync(file.fileno())
        num_flushes += 1
    flush = (time.perf_counter() - began) / num_flushes
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)  # or memory would be read, and not the disk
    began, position = time.perf_counter(), 0
    while position < num_bytes and (position == 0 or time.perf_counter() - began < WRITING_SECONDS):
        position += len(os.pread(file.fileno(), BLOCK, position))
    return writing, flush, position / (time.perf_counter() - began)


def _speed(writing: float, flush: float, reading: float) -> Check:
    found = f"writes {writing / 1e6:,.0f} MB/s, reads {reading / 1e6:,.0f} MB/s, flushes a small file in "
    found += f"{flush * 1e3:,.1f} ms"
    slow = writing < LEAST_SPEED or reading < LEAST_SPEED or flush > MOST_FLUSH_SECONDS
    remedy = "put the store on a faster disk: this one sets the pace of a run" if slow else None
    return Check(GROUP, "speed", State.WARNING if slow else State.OK, found, remedy=remedy)
