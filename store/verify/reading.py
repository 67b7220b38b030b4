"""Reading every byte of a file, to compare its checksum with the recorded one."""

from __future__ import annotations

import threading

import numpy as np
import xxhash
from numpy.typing import NDArray

from store.places.folder import StoreFolder

BUFFER_BYTES = 2**20
"""Small enough for the cache of a core, so that the checksum is computed from the cache."""

_own = threading.local()


def read_through(folder: StoreFolder, name: str) -> tuple[int, str] | None:
    """Read a whole file, and return its size and its XXH3 checksum as `WrittenFile` has them.

    None if there is no such file, or it becomes shorter while it is read.
    """
    file = folder.open(name)
    if file is None:
        return None
    buffer = _buffer()
    num_bytes, checksum = file.num_bytes, xxhash.xxh3_128()
    for offset in range(0, num_bytes, BUFFER_BYTES):
        part = buffer[: min(BUFFER_BYTES, num_bytes - offset)]
        if not file.fill(offset, [part]):
            return None
        checksum.update(part.data)
    return num_bytes, checksum.hexdigest()


def _buffer() -> NDArray[np.uint8]:
    """The buffer of this thread, which is reused for every file."""
    if not hasattr(_own, "buffer"):
        _own.buffer = np.empty(BUFFER_BYTES, dtype=np.uint8)
    buffer: NDArray[np.uint8] = _own.buffer
    return buffer
