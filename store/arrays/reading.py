"""Reading chunks out of shards, in any order, straight into the arrays of a batch.

zarr-python fetches and parses the index of a shard for every clip. Here the index is read once, when the file is
opened, and a clip is one `preadv`. The file stays open as long as its index is cached: a shard that another run
rebuilds is a new file under the same name, with its chunks at other offsets.
zarr-python reads the same values from the same files, which a test checks. `store.arrays.shards` describes the layout
of a shard.

The checksum of a chunk is checked when a reader first reads it, and again once its file was written to or is another
one. Between, a reader of many epochs relies on what it has checked: a checksum takes half as long as the bytes.
From an object store, whose bytes come over a network each time, each is checked.
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from store.arrays.codecs import codec_named
from store.arrays.shards import NOT_STORED, ArraySpec, ArrayValues, checksum_of
from store.errors import ShardDamagedError
from store.places.folder import OpenFile, StoreFolder
from store.remedies import REBUILD
from store.schema import Shard

_CHECKSUM_BYTES = 4
_LOCAL_THREADS, _OBJECT_THREADS = 2, 16
"""Threads that read an array. A disk is waited for little; an object store answers many requests at a time."""
_MAX_OPEN_FILES = 64
"""Open files per reader, each with its index of 16 bytes a chunk."""


class ChunkReader:
    """Reads chunks of one array, and keeps the files that it used last open.

    Threads may share a reader, and a forked process may use it on; a reader that is unpickled opens its own files.
    """

    def __init__(self, folder: StoreFolder, spec: ArraySpec) -> None:
        self.spec = spec
        self.opened: set[int] = set()
        """Shards whose files were opened. `ClipReader` checks that they are the ones it expects, then removes them."""
        self._folder = folder
        self._files: OrderedDict[int, _ShardFile | None] = OrderedDict()
        self._checked: dict[int, tuple[tuple[int, ...], int]] = {}
        """Shard -> the stamp of its file, and the chunks that were checked under it, a bit each. Kept when the file is
        closed, as a million clips are more files than may be open: 30 bytes a clip."""
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type[ChunkReader], tuple[StoreFolder, ArraySpec]]:
        return ChunkReader, (self._folder, self.spec)

    def empty(self, num_chunks: int) -> ArrayValues:
        """An array for chunks that `read_into` fills: shape (num_chunks, *spec.chunk_shape)."""
        return np.empty((num_chunks, *self.spec.chunk_shape), dtype=self.spec.dtype)

    def read(self, chunks: Iterable[int]) -> ArrayValues:
        """Read chunks, in the order given. In an array with one row a chunk, chunks are rows.

        Returns:
            Shape (number of chunks, *spec.chunk_shape).

        Raises:
            ShardDamagedError: A checksum is wrong, or a file is cut off.
        """
        wanted = tuple(chunks)
        values = self.empty(len(wanted))
        for chunk, out in zip(wanted, values, strict=True):
            self.read_into(chunk, out)
        return values

    def read_into(self, chunk: int, out: ArrayValues) -> None:
        """Read one chunk into `out`, an array of its shape in C order; errors are those of `read`."""
        shard, slot = divmod(chunk, self.spec.chunks_per_shard)
        file = self._file(shard)
        place = None if file is None else file.place(slot)
        if file is None or place is None:
            out[...] = self.spec.fill_value
            return
        what, (offset, num_bytes) = f"chunk {slot}", place
        content = file.room(what, offset, num_bytes) if self.spec.codec != "raw" else out.reshape(-1).view(np.uint8)
        if num_bytes != len(content) + _CHECKSUM_BYTES:
            raise file.damaged(f"the length of its {what}")
        stamp = file.stamp()
        checksum = file.fill_content(offset, content)
        # The stamps of before the first reading and after this one: whoever writes into the file meanwhile changes one.
        if not self._is_checked(shard, slot, file.stamp()):
            file.check(what, content, checksum)
            self._note_checked(shard, slot, stamp)
        if self.spec.codec == "raw":  # nothing to decode: straight into the batch, which saves a copy of each clip
            return
        try:
            codec_named(self.spec.codec).decode(content, out.view(np.uint8))
        except (ValueError, RuntimeError) as error:  # its checksum is right, so somebody else wrote it
            raise file.damaged(f"the content of its {what}") from error

    def _is_checked(self, shard: int, slot: int, stamp: tuple[int, ...] | None) -> bool:
        # Without the lock: another thread may put a new pair there now, and then this chunk is at most checked once
        # more.
        known, slots = self._checked.get(shard, (None, 0))
        return stamp is not None and known == stamp and bool(slots >> slot & 1)

    def _note_checked(self, shard: int, slot: int, stamp: tuple[int, ...] | None) -> None:
        if stamp is None:
            return
        with self._lock:
            known, slots = self._checked.get(shard, (stamp, 0))
            self._checked[shard] = stamp, (slots if known == stamp else 0) | 1 << slot

    def stored(self, chunk: int) -> bytes | None:
        """The bytes of a chunk as they are in its file, with their checksum; None if it is not stored.

        Raises:
            ShardDamagedError: See `read`.
        """
        shard, slot = divmod(chunk, self.spec.chunks_per_shard)
        file = self._file(shard)
        place = None if file is None else file.place(slot)
        if file is None or place is None:
            return None
        content = file.checked(f"chunk {slot}", *place)
        return content.tobytes() + checksum_of(content)

    def take(self, shard: int, file: _ShardFile | None) -> None:
        """Use this as the file of a shard, whatever is in the store."""
        self._files[shard] = file

    def _file(self, shard: int) -> _ShardFile | None:
        """The file of a shard, or None if it has none because every value is the fill value."""
        with self._lock:
            # Opened under the lock, so that two threads never open one file twice. One that is dropped is closed once
            # no thread reads it.
            if shard not in self._files:
                self._files[shard] = _open_shard(self._folder, self.spec, shard)
                self.opened.add(shard)
                if len(self._files) > _MAX_OPEN_FILES:
                    self._files.popitem(last=False)
            self._files.move_to_end(shard)
            return self._files[shard]


def read_shard(folder: StoreFolder, spec: ArraySpec, shard: Shard) -> ArrayValues:
    """All rows of one shard: shape (shard.num_rows, *spec.item_shape).

    Raises:
        ShardDamagedError: A checksum is wrong, or the file is cut off.
    """
    return _rows_of(ChunkReader(folder, spec), shard)


def read_content(folder: StoreFolder, spec: ArraySpec, shard: Shard, content: bytes | None) -> ArrayValues:
    """`read_shard` of a file that is yet to be written: what readers will get."""
    reader = ChunkReader(folder, spec)
    if content is None:
        reader.take(shard.index, None)
    else:
        reader.take(shard.index, _ShardFile(_InMemory(content), spec.shard_name(shard.index), spec.chunks_per_shard))
    return _rows_of(reader, shard)


def _rows_of(reader: ChunkReader, shard: Shard) -> ArrayValues:
    spec = reader.spec
    first, count = shard.index * spec.chunks_per_shard, math.ceil(shard.num_rows / spec.chunk_rows)
    # (count, chunk_rows, *item) -> (count * chunk_rows, *item), without the rows that fill the last chunk.
    return reader.read(range(first, first + count)).reshape(-1, *spec.item_shape)[: shard.num_rows]


def read_array(folder: StoreFolder, spec: ArraySpec) -> ArrayValues:
    """All rows of an array: shape (spec.num_rows, *spec.item_shape).

    Raises:
        ShardDamagedError: A checksum is wrong, or a file is cut off.
    """
    reader = ChunkReader(folder, spec)
    values = reader.empty(math.ceil(spec.num_rows / spec.chunk_rows))
    num_threads = _LOCAL_THREADS if folder.is_local else _OBJECT_THREADS
    in_threads(lambda chunk: reader.read_into(chunk, values[chunk]), len(values), num_threads)
    return values.reshape(-1, *spec.item_shape)[: spec.num_rows]


def in_threads(work: Callable[[int], None], count: int, num_threads: int) -> None:
    """Call `work(0)` ... `work(count - 1)` in threads, of which this one is the first, and raise the first error.

    The threads end with the call. To start one takes 0.1 ms, and a pool that lives on would be lost in a forked worker,
    which inherits no threads.
    """
    num_shares = max(1, min(num_threads, count))

    def do_share(share: int) -> None:
        for number in range(share, count, num_shares):
            work(number)

    if num_shares == 1:
        do_share(0)
        return
    with ThreadPoolExecutor(num_shares - 1, thread_name_prefix="fda-read") as pool:
        others = [pool.submit(do_share, share) for share in range(1, num_shares)]
        do_share(0)
        for other in others:
            # Raises what a thread raised.
            other.result()


class _ShardFile:
    """A shard's file open for reading, with its index.

    The garbage collector closes it, so it is never closed while another thread reads it.
    """

    def __init__(self, file: OpenFile, name: str, num_chunks: int) -> None:
        """Read its index; `name` is for errors.

        Raises:
            ShardDamagedError: It is cut off, or the checksum of its index is wrong.
        """
        self._file, self._name = file, name
        num_bytes = 16 * num_chunks + _CHECKSUM_BYTES
        # In a file that is shorter than its index, this goes beyond the end, which is refused.
        start = max(0, file.num_bytes - num_bytes)
        # (16 * num_chunks,) bytes -> (num_chunks, 2): offset and length of each.
        self._index = self.checked("index", start, num_bytes).view("<u8").reshape(-1, 2)

    def place(self, slot: int) -> tuple[int, int] | None:
        """Offset and length of a chunk, or None if it is not stored."""
        if self._index[slot, 0] == NOT_STORED:
            return None
        return int(self._index[slot, 0]), int(self._index[slot, 1])

    def checked(self, what: str, offset: int, num_bytes: int) -> NDArray[np.uint8]:
        """Read bytes that end with their CRC-32C, check it, and return them without it."""
        content = self.room(what, offset, num_bytes)
        self.check(what, content, self.fill_content(offset, content))
        return content

    def room(self, what: str, offset: int, num_bytes: int) -> NDArray[np.uint8]:
        """Memory for so many bytes at `offset`, without their CRC-32C, if the file has as many."""
        if num_bytes < _CHECKSUM_BYTES:
            raise self.damaged(f"the length of its {what}")
        # Before memory is allocated: an index may claim any length.
        self._require(offset, num_bytes)
        return np.empty(num_bytes - _CHECKSUM_BYTES, dtype=np.uint8)

    def fill_content(self, offset: int, content: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Read bytes into `content` until it is full, and return the CRC-32C behind them."""
        checksum = np.empty(_CHECKSUM_BYTES, dtype=np.uint8)
        self._require(offset, len(content) + _CHECKSUM_BYTES)
        if not self._file.fill(offset, [content, checksum]):
            raise self._cut_off()
        return checksum

    def stamp(self) -> tuple[int, ...] | None:
        """See `OpenFile`."""
        return self._file.stamp()

    def _require(self, offset: int, num_bytes: int) -> None:
        if offset + num_bytes > self._file.num_bytes:
            raise self._cut_off()

    def _cut_off(self) -> ShardDamagedError:
        return ShardDamagedError(f"{self._name} is cut off: {REBUILD}")

    def check(self, what: str, content: NDArray[np.uint8], checksum: NDArray[np.uint8]) -> None:
        """Raise if the checksum is not that of the content."""
        if checksum_of(content) != checksum.tobytes():
            raise self.damaged(f"the checksum of its {what}")

    def damaged(self, what: str) -> ShardDamagedError:
        """The error to raise when `what` is wrong."""
        return ShardDamagedError(f"{self._name} is damaged: {what} is wrong. {REBUILD}")


class _InMemory:
    """An `OpenFile` of bytes."""

    def __init__(self, content: bytes) -> None:
        self._content = np.frombuffer(content, np.uint8)
        self.num_bytes = len(content)

    def fill(self, offset: int, buffers: Sequence[NDArray[np.uint8]]) -> bool:
        for buffer in buffers:
            buffer[:] = self._content[offset : offset + len(buffer)]
            offset += len(buffer)
        return True

    def stamp(self) -> tuple[int, ...] | None:
        return None


def _open_shard(folder: StoreFolder, spec: ArraySpec, shard: int) -> _ShardFile | None:
    name = spec.shard_name(shard)
    file = folder.open(name)
    return None if file is None else _ShardFile(file, f"{folder.place}/{name}", spec.chunks_per_shard)
