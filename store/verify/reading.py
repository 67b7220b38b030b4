"""Reading every byte of a file as fast as it comes, to see whether it is what was written."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np
import xxhash
from numpy.typing import NDArray

from store.places.folder import StoreFolder

BUFFER_BYTES = 2**20
"""Small enough to stay in the cache of a core, so that the checksum is taken of what is there already."""

_own = threading.local()


@dataclass(frozen=True, slots=True)
class FileRead:
    """What one reading of a file gave."""

    num_bytes: int
    xxh128: str
    """As `WrittenFile` has it."""
    tail: bytes
    """Its last bytes, as many as were asked for, or all."""


def read_through(folder: StoreFolder, name: str, num_tail_bytes: int) -> FileRead | None:
    """Read a whole file into one small buffer again and again; None where there is none, or it ends while it is read.

    Args:
        folder: The store.
        name: The file.
        num_tail_bytes: How much of its end to keep.
    """
    file = folder.open(name)
    if file is None:
        return None
    buffer = _buffer()
    num_bytes, content, tail = file.num_bytes, xxhash.xxh3_128(), b""
    for offset in range(0, num_bytes, BUFFER_BYTES):
        part = buffer[: min(BUFFER_BYTES, num_bytes - offset)]
        if not file.fill(offset, [part]):
            return None
        content.update(part.data)
        if offset + len(part) > num_bytes - num_tail_bytes:
            tail = (tail + part.tobytes())[-num_tail_bytes:]
    return FileRead(num_bytes, content.hexdigest(), tail)


def _buffer() -> NDArray[np.uint8]:
    """Of this thread."""
    if not hasattr(_own, "buffer"):
        _own.buffer = np.empty(BUFFER_BYTES, dtype=np.uint8)
    buffer: NDArray[np.uint8] = _own.buffer
    return buffer
