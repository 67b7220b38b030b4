"""A folder of a store as a store of zarr-python, through `StoreFolder`: with its retries and its errors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import TYPE_CHECKING

import numpy as np
from zarr.abc.store import ByteRequest, OffsetByteRequest, RangeByteRequest, Store, SuffixByteRequest

from store.errors import ShardDamagedError, StoreMissingError
from store.places.folder import StoreFolder
from store.remedies import REBUILD

if TYPE_CHECKING:
    from zarr.core.buffer import Buffer, BufferPrototype


class ReadOnlyZarr(Store):
    """The files of one folder of a store. Requests run in threads, as zarr-python sends many at a time."""

    supports_writes = False
    supports_deletes = False
    supports_listing = True

    def __init__(self, folder: StoreFolder, name: str) -> None:
        super().__init__(read_only=True)
        self._folder = folder
        self._root = name

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ReadOnlyZarr) and (self._folder, self._root) == (other._folder, other._root)

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        """The content of a file, or a part of it; None if there is no such file."""
        # A `StoreFolder` blocks, and this is called in the event loop of zarr-python.
        content = await asyncio.to_thread(self._read, self._name(key), byte_range)
        return None if content is None else prototype.buffer.from_bytes(content)

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        """`get` for many files."""
        return list(await asyncio.gather(*(self.get(key, prototype, part) for key, part in key_ranges)))

    async def exists(self, key: str) -> bool:
        """Whether there is such a file."""
        return await asyncio.to_thread(self._folder.num_bytes, self._name(key)) is not None

    async def set(self, key: str, value: Buffer) -> None:
        """Raise: a store is written by `commit_shards` only."""
        self._check_writable()

    async def delete(self, key: str) -> None:
        """Raise, like `set`."""
        self._check_writable()

    async def list(self) -> AsyncIterator[str]:
        """Every file."""
        async for key in self.list_prefix(""):
            yield key

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        """Every file whose name begins with `prefix`."""
        for stored in await asyncio.to_thread(lambda: list(self._folder.walk(self._root))):
            key = stored.name.removeprefix(f"{self._root}/")
            if key.startswith(prefix):
                yield key

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """Files and folders directly in a folder, without its path."""
        folder = self._name(prefix.rstrip("/")).rstrip("/")
        for list_names in (self._folder.folders, self._folder.names):
            for name in await asyncio.to_thread(list_names, folder):
                yield name.rsplit("/", 1)[-1]

    def _name(self, key: str) -> str:
        return f"{self._root}/{key}".lstrip("/")

    def _read(self, name: str, byte_range: ByteRequest | None) -> bytes | None:
        if byte_range is None:
            try:
                return self._folder.read(name)
            except StoreMissingError:
                return None
        file = self._folder.open(name)
        if file is None:
            return None
        start, stop = _span(byte_range, file.num_bytes)
        content = np.empty(stop - start, dtype=np.uint8)
        if not file.fill(start, [content]):
            raise ShardDamagedError(f"{name} is cut off: {REBUILD}")
        return content.tobytes()


def _span(byte_range: ByteRequest, num_bytes: int) -> tuple[int, int]:
    """First byte of a range in a file of so many bytes, and one past the last.

    >>> _span(SuffixByteRequest(4), 10), _span(OffsetByteRequest(7), 10), _span(RangeByteRequest(8, 20), 10)
    ((6, 10), (7, 10), (8, 10))
    """
    match byte_range:
        case SuffixByteRequest(suffix):
            start, stop = num_bytes - suffix, num_bytes
        case OffsetByteRequest(offset):
            start, stop = offset, num_bytes
        case RangeByteRequest(first, end):
            start, stop = first, end
    stop = min(stop, num_bytes)
    return min(max(0, start), stop), stop
