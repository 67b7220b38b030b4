"""Zarr v3 arrays whose shards are written whole: a shard of an array is one file.

Each shard is assembled in memory, and `store.commits.commit_shards` writes it in one step. So no task reads, changes
and writes back a file, and two tasks never write into the same one: the shard is the smallest unit that may be written
concurrently (zarr-python #3682).

A shard is its chunks, one after the other, and then an index: offset and length of each, as 64-bit little-endian
numbers, and a CRC-32C of these. zarr-python makes the same bytes, which a test checks, but copies all frames three more
times.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import google_crc32c
import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import Crc32cCodec
from zarr.core.buffer import Buffer
from zarr.errors import BaseZarrError
from zarr.storage import MemoryStore, StorePath

from store.arrays.codec_names import CodecName
from store.arrays.codecs import codec_named
from store.errors import NotInStoreError, StoreFormatError, StoreMismatchError
from store.formats.seal import BLANK, SEAL_KEY, check_sealed, sealed
from store.json_values import JSON, differences
from store.places.folder import StoreFolder
from store.places.zarr_view import ReadOnlyZarr
from store.remedies import FROM_COPY
from store.schema import Shard

ZarrArray = zarr.Array[Any]
Encoded = bytes | NDArray[np.uint8]
ArrayValues = (
    NDArray[np.uint8]
    | NDArray[np.bool_]
    | NDArray[np.bool_ | np.uint8]
    | NDArray[np.int64]
    | NDArray[np.float16]
    | NDArray[np.float32]
    | NDArray[np.float64]
)

GROUP_METADATA = b'{"attributes": {}, "zarr_format": 3, "node_type": "group"}\n'
"""The same for every group: what made the data is recorded in the arrays."""

_METADATA_REMEDY = (
    f"{FROM_COPY}; else `fda verify --repair` writes that of frames, and removes other arrays, which the command that "
    "made them rebuilds"
)

_NOT_COMPARED = ("software", SEAL_KEY)

NOT_STORED = 2**64 - 1
"""Offset and length, in a shard's index, of a chunk that holds nothing but the fill value."""


@dataclass(frozen=True, slots=True)
class ArraySpec:
    """One array of a store, cut along its first axis into shards of `shard_rows` rows.

    A shard is one file. Inside it, a chunk holds `chunk_rows` rows and carries a CRC-32C that every Zarr reader
    checks. A chunk that holds nothing but the fill value is not stored.
    """

    name: str
    """Relative to the store: `clips.zarr/test/frames`."""
    num_rows: int
    item_shape: tuple[int, ...]
    dtype: Literal["uint8", "bool", "int64", "float16", "float32", "float64"]
    fill_value: float | bool
    """The value of a slot that no video filled."""
    shard_rows: int
    chunk_rows: int
    dimensions: tuple[str, ...]
    codec: CodecName = "raw"
    """How a chunk is stored: see `store.arrays.codecs`."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the whole array."""
        return (self.num_rows, *self.item_shape)

    @property
    def chunk_shape(self) -> tuple[int, ...]:
        """Shape of one chunk."""
        return (self.chunk_rows, *self.item_shape)

    @property
    def chunks_per_shard(self) -> int:
        """Chunks in a shard, stored or not."""
        return self.shard_rows // self.chunk_rows

    def shard_name(self, index: int) -> str:
        """The file of a shard: Zarr's default chunk key with dots, so that all shards are in the array's folder."""
        # With slashes each shard has a folder for every axis, and each of them is synced when it is made: that was two
        # fifths of the cost of a commit, and two thirds of the inodes of a store.
        return f"{self.name}/" + ".".join(["c", str(index), *("0" for _ in self.item_shape)])


def create_array(
    folder: StoreFolder,
    spec: ArraySpec,
    attributes: Mapping[str, JSON],
    remedy: str = "Use another name, or --overwrite to rebuild it",
) -> None:
    """Write the metadata of an array and of the groups above it, unless they exist and agree.

    An array with another number of rows is the same array before the store grew: its number of rows is updated.

    Args:
        folder: The store.
        spec: Shape, type and layout.
        attributes: What made the array; stored with it. `software` is recorded and not compared.
        remedy: What the user can do if it was made with other options.

    Raises:
        StoreMismatchError: There is such an array, made with other options.
        StoreFormatError: Its metadata are damaged.
    """
    metadata_name = f"{spec.name}/zarr.json"
    wanted = array_metadata(spec, attributes)
    if folder.num_bytes(metadata_name) is None:
        # The groups first: where an array has its metadata, those above it have theirs, also after a kill.
        for name in group_names(spec.name):
            if folder.num_bytes(name) is None:
                folder.write(name, GROUP_METADATA)
        folder.write(metadata_name, wanted)
        return
    existing = json.loads(_whole_metadata(folder, metadata_name))
    num_rows = existing["shape"][0]
    changed = differences(array_identity(existing), array_identity(json.loads(wanted)))
    if changed:
        raise StoreMismatchError(f"{spec.name} in {folder.place} was made with other options: {changed}. {remedy}")
    if num_rows != spec.num_rows:  # the store has grown since
        # With the software that made the array, not that of this run.
        folder.write(metadata_name, array_metadata(spec, existing["attributes"]))


def shard_content(
    spec: ArraySpec, shard: Shard, values: ArrayValues, kept: Mapping[int, bytes] | None = None
) -> bytes | None:
    """The file of one shard of an array: array data are written as this says, and in no other way.

    Args:
        spec: The array.
        shard: Which rows.
        values: Shape (shard.num_rows, *spec.item_shape).
        kept: Number of a chunk in the shard -> its bytes as they were stored before (`ChunkReader.stored`), which are
            copied as they are. If decoded frames were encoded again, a lossy codec would lose a little more each time.

    Returns:
        Its content, or None if every value is the fill value: Zarr then stores no file.
    """
    if values.shape != (shard.num_rows, *spec.item_shape) or values.dtype != np.dtype(spec.dtype):
        raise ValueError(
            f"shard {shard.key} of {spec.name} needs {spec.dtype} of shape {(shard.num_rows, *spec.item_shape)}, "
            f"got {values.dtype} of shape {values.shape}"
        )
    chunks = _encode_chunks(spec, values, kept or {})
    return None if all(chunk is None for chunk in chunks) else _join(chunks)


def open_array(folder: StoreFolder, name: str) -> ZarrArray:
    """Open an array of the store for reading.

    Raises:
        NotInStoreError: There is no such array.
        StoreFormatError: Its metadata are damaged.
    """
    if folder.num_bytes(f"{name}/zarr.json") is None:
        raise NotInStoreError(f"{folder.place} has no array {name}")
    content = _whole_metadata(folder, f"{name}/zarr.json")
    try:
        # As `zarr.open_array` does, which reads the file again, in another thread: five times as long.
        return ZarrArray.from_dict(StorePath(ReadOnlyZarr(folder, name)), json.loads(content))
    except (BaseZarrError, ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        raise StoreFormatError(
            f"{folder.place}/{name}/zarr.json is not the metadata of an array ({error}): {_METADATA_REMEDY}"
        ) from error


def type_of_array(folder: StoreFolder, name: str) -> str | None:
    """The type of an array's values by its metadata, or None. In a tenth of the time of opening the array.

    Raises:
        StoreMissingError: There is no such array.
        StoreFormatError: Its metadata are damaged.
    """
    content = _whole_metadata(folder, f"{name}/zarr.json")
    try:
        fields = json.loads(content)
        return str(fields["data_type"]) if fields["node_type"] == "array" else None
    except (ValueError, KeyError, TypeError, RecursionError):  # whose seal is right
        return None


def _whole_metadata(folder: StoreFolder, name: str) -> bytes:
    content = folder.read(name)
    check_sealed(content, f"{folder.place}/{name}", _METADATA_REMEDY)
    return content


def attributes_of(array: ZarrArray) -> dict[str, JSON]:
    """What made an array: its attributes without the seal of its file."""
    return {key: value for key, value in array.attrs.asdict().items() if key != SEAL_KEY}


def array_identity(metadata: Mapping[str, Any]) -> Mapping[str, JSON]:
    """What must agree between two runs: an array's attributes except `software`, and its layout except its length.

    Args:
        metadata: The content of a `zarr.json`.
    """
    fields = dict(metadata)
    attributes = {key: value for key, value in fields.pop("attributes", {}).items() if key not in _NOT_COMPARED}
    # The first axis is its length, which grows.
    return {**attributes, "array": {**fields, "shape": fields["shape"][1:]}}


def checksum_of(content: bytes | NDArray[np.uint8]) -> bytes:
    """The CRC-32C at the end of a chunk and of an index."""
    value: int = google_crc32c.value(content)
    return value.to_bytes(4, "little")


def _encode_chunks(spec: ArraySpec, values: ArrayValues, kept: Mapping[int, bytes]) -> list[list[Encoded] | None]:
    """The parts of each chunk of a shard, in order; None for a chunk of nothing but the fill value."""
    encode = codec_named(spec.codec).encode
    chunks: list[list[Encoded] | None] = []
    for number in range(spec.chunks_per_shard):
        chunk = values[number * spec.chunk_rows : (number + 1) * spec.chunk_rows]
        if number in kept:
            chunks.append([kept[number]])
        elif _is_fill(chunk, spec.fill_value):
            chunks.append(None)
        else:
            content = encode(_padded(chunk, spec))
            chunks.append([content, checksum_of(content)])
    return chunks


def _padded(chunk: ArrayValues, spec: ArraySpec) -> NDArray[np.generic]:
    """A chunk in C order and of full size: rows that the last shard of a split does not have get the fill value."""
    if len(chunk) == spec.chunk_rows:
        return np.ascontiguousarray(chunk)
    whole = np.full(spec.chunk_shape, spec.fill_value, dtype=chunk.dtype)
    whole[: len(chunk)] = chunk
    return whole


def _is_fill(chunk: ArrayValues, fill_value: float | bool) -> bool:
    """Whether every value is the fill value, which may be NaN."""
    # The first value decides for almost every chunk, and saves a pass over all of a clip.
    flat = chunk.reshape(-1)
    return all(
        # NaN is the one number that is not equal to itself.
        bool(np.isnan(part).all() if fill_value != fill_value else (part == fill_value).all())
        for part in (flat[:1], flat)
    )


def _join(chunks: Sequence[Sequence[Encoded] | None]) -> bytes:
    """The file of a shard: its chunks, the index, and the index's checksum."""
    index = np.full((len(chunks), 2), NOT_STORED, dtype="<u8")
    offset = 0
    for number, chunk in enumerate(chunks):
        if chunk is not None:
            num_bytes = sum(len(part) for part in chunk)
            index[number] = offset, num_bytes
            offset += num_bytes
    parts = [part for chunk in chunks if chunk is not None for part in chunk]
    # `join` takes the memory of an array, so each chunk is copied once.
    contents = [part.data if isinstance(part, np.ndarray) else part for part in parts]
    return b"".join([*contents, index.tobytes(), checksum_of(index.tobytes())])


def array_metadata(spec: ArraySpec, attributes: Mapping[str, JSON]) -> bytes:
    """The `zarr.json` of an array, sealed: zarr-python's own, with what made the array as its attributes."""
    # one order, whether the attributes come from a caller or were read back from a file: equal arrays, equal bytes
    return _array_metadata(spec, json.dumps({**attributes, SEAL_KEY: BLANK}, sort_keys=True))


@lru_cache(maxsize=256)
def _array_metadata(spec: ArraySpec, attributes: str) -> bytes:
    """What zarr-python makes in another thread, by its event loop: a run or a verification asks for it many times."""
    files: dict[str, Buffer] = {}
    codec = codec_named(spec.codec)
    chunk_bytes = math.prod(spec.chunk_shape) * np.dtype(spec.dtype).itemsize
    zarr.create_array(
        MemoryStore(store_dict=files),
        shape=spec.shape,
        chunks=spec.chunk_shape,
        shards=(spec.shard_rows, *spec.item_shape),
        dtype=spec.dtype,
        serializer=codec.serializer,
        # The checksum last: it is of the bytes as they are stored.
        compressors=[*codec.compressors(chunk_bytes), Crc32cCodec()],
        fill_value=spec.fill_value,
        dimension_names=spec.dimensions,
        chunk_key_encoding={"name": "default", "separator": "."},
        attributes=json.loads(attributes),
        zarr_format=3,
    )
    return sealed(files["zarr.json"].to_bytes())


def group_names(array_name: str) -> list[str]:
    """The metadata files of the groups that an array lies in, the outermost first.

    >>> group_names("clips.zarr/test/frames")
    ['clips.zarr/zarr.json', 'clips.zarr/test/zarr.json']
    """
    parts = array_name.split("/")[:-1]
    return ["/".join([*parts[:depth], "zarr.json"]) for depth in range(1, len(parts) + 1)]
