"""Reading single clips out of shards, in random order: what training does all the time.

A Zarr v3 shard is its chunks one after the other and then an index: the offset and the length of each, as 64-bit
little-endian numbers, and a CRC-32C of these. zarr-python fetches and parses that index for every clip; here it is read
once a shard, and a clip is one `pread`. The files are the same, and so are the values (a test holds the two together).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import google_crc32c
import numpy as np
from numcodecs import blosc
from numpy.typing import NDArray

from store.arrays import ArraySpec
from store.errors import ShardDamagedError
from store.files import StoreFolder

_CHECKSUM_BYTES = 4
_NOT_STORED = 2**64 - 1
"""Offset and length of a chunk that holds nothing but the fill value."""


class ChunkReader:
    """Reads rows of one array whose chunks hold one row each. Keeps 16 bytes a row: the indices it has met."""

    def __init__(self, folder: StoreFolder, spec: ArraySpec) -> None:
        if spec.chunk_rows != 1:
            raise ValueError(
                f"{spec.name} has {spec.chunk_rows} rows a chunk: only chunks of one row are read one by one"
            )
        self._folder = folder
        self._spec = spec
        self._indices: dict[int, NDArray[np.uint64] | None] = {}

    def read(self, rows: Sequence[int]) -> NDArray[np.uint8]:
        """Read rows, in the order given.

        Returns:
            Shape (len(rows), *item_shape): the values, a byte each (uint8, or bool as 0 and 1).

        Raises:
            ShardDamagedError: A checksum is wrong, or a shard ends too soon.
        """
        values = np.full((len(rows), *self._spec.item_shape), self._spec.fill_value, dtype=np.uint8)
        for position, row in enumerate(rows):
            shard, slot = divmod(row, self._spec.shard_rows)
            index = self._index(shard)
            if index is not None and index[slot, 0] != _NOT_STORED:
                offset, num_bytes = (int(number) for number in index[slot])
                values[position] = self._decode(shard, slot, self._pread(shard, offset, num_bytes))
        return values

    def _index(self, shard: int) -> NDArray[np.uint64] | None:
        """Offset and length of each chunk of a shard, shape (shard_rows, 2); None where the shard has no file."""
        if shard not in self._indices:
            num_bytes = 16 * self._spec.shard_rows + _CHECKSUM_BYTES
            size = self._folder.num_bytes(self._spec.shard_name(shard))
            if size is None:
                self._indices[shard] = None
            else:
                content = self._checked(shard, "index", self._pread(shard, max(0, size - num_bytes), num_bytes))
                self._indices[shard] = np.frombuffer(content, dtype="<u8").reshape(-1, 2)
        return self._indices[shard]

    def _pread(self, shard: int, offset: int, num_bytes: int) -> bytes:
        descriptor = os.open(self._path(shard), os.O_RDONLY)
        try:
            content = os.pread(descriptor, num_bytes, offset)
        finally:
            os.close(descriptor)
        if len(content) != num_bytes:
            raise ShardDamagedError(
                f"{self._path(shard)} is cut off: remove it, and the next run of the command that made it makes it anew"
            )
        return content

    def _decode(self, shard: int, slot: int, chunk: bytes) -> NDArray[np.uint8]:
        content = self._checked(shard, f"chunk {slot}", chunk)
        plain = blosc.decompress(content) if self._spec.compress else content
        return np.frombuffer(plain, dtype=np.uint8).reshape(self._spec.item_shape)

    def _checked(self, shard: int, what: str, content: bytes) -> memoryview:
        """The content without its CRC-32C, which must be right."""
        body, checksum = memoryview(content)[:-_CHECKSUM_BYTES], content[-_CHECKSUM_BYTES:]
        if google_crc32c.value(bytes(body)) != int.from_bytes(checksum, "little"):
            raise ShardDamagedError(
                f"{self._path(shard)} is damaged: the checksum of its {what} is wrong. "
                "Remove it, and the next run of the command that made it makes it anew"
            )
        return body

    def _path(self, shard: int) -> Path:
        return self._folder.path(self._spec.shard_name(shard))
