"""How the values of a chunk become bytes: each codec with its name in Zarr, so that other Zarr readers open it too."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numcodecs import blosc, zstd
from numpy.typing import NDArray
from zarr.abc.codec import ArrayBytesCodec, BytesBytesCodec
from zarr.codecs import BloscCodec, BytesCodec, ZstdCodec

from store.arrays.codec_names import CodecName
from store.arrays.int8_rows import Int8RowsCodec, decode_rows, encode_rows
from store.arrays.jpeg import JpegCodec

_LEVEL = 1
"""Level of Zstandard. Level 3 takes three times as long to write, and saves 2%."""


_BLOSC_HEADER = struct.Struct("<4xI4xI")
"""Bytes before and after compression; between them four single bytes, and the size of a block."""
_BLOSC_BLOCK = struct.Struct("<4B5I")
"""The header, then where the first block begins, and how long it is."""
_ZSTD_BITS = (2, 1, 0x94, 1)
"""How the header begins: format, version of Zstandard's format, bit shuffle and Zstandard in blocks of one part, and
one byte a value."""


@dataclass(frozen=True, slots=True)
class Codec:
    """A way to store a chunk. The CRC-32C at the end of every chunk is added by `store.arrays.shards`, not here."""

    serializer: ArrayBytesCodec
    """Zarr's codec for the step from values to bytes."""
    compressors: Callable[[int], list[BytesBytesCodec]]
    """Zarr's codecs for the steps after it, given the number of bytes of a chunk."""
    encode: Callable[[NDArray[np.generic]], NDArray[np.uint8]]
    """Values in C order -> bytes, shape (num_bytes,): the same bytes that zarr-python makes."""
    decode: Callable[[NDArray[np.uint8], NDArray[np.uint8]], None]
    """(content, out): decode the bytes `content` into `out`, which is in C order and viewed as bytes; raises
    `ValueError` or `RuntimeError` unless they are as many as `out` has."""
    lossy: bool = False
    """Whether decoded values may differ from the encoded ones."""


def codec_named(name: str) -> Codec:
    """Look a codec up.

    Raises:
        ValueError: There is no codec of this name.
    """
    if name not in _CODECS:
        raise ValueError(f"no codec {name!r}: use one of {', '.join(_CODECS)}")
    return _CODECS[name]


def _flat(chunk: NDArray[np.generic]) -> NDArray[np.uint8]:
    return chunk.reshape(-1).view(np.uint8)


def _copy(content: NDArray[np.uint8], out: NDArray[np.uint8]) -> None:
    out.reshape(-1)[:] = content


def _compress_zstd(chunk: NDArray[np.generic]) -> NDArray[np.uint8]:
    return np.frombuffer(zstd.compress(_flat(chunk), _LEVEL), dtype=np.uint8)


def _decompress_zstd(content: NDArray[np.uint8], out: NDArray[np.uint8]) -> None:
    out.reshape(-1)[:] = _zstd_values(content, out.size)


def _zstd_values(content: NDArray[np.uint8], num_bytes: int) -> NDArray[np.uint8]:
    # Not numcodecs, which leaves the rest as it is where the content is shorter.
    try:
        values = pa.Codec("zstd").decompress(pa.py_buffer(content), num_bytes)
    except OSError as error:
        raise ValueError(str(error)) from error
    return np.frombuffer(values, dtype=np.uint8)


def _blosc(num_bytes: int) -> list[BytesBytesCodec]:
    # One block for the whole chunk. Compared with the block size that Blosc chooses, masks take 14% less space and half
    # the time to read. Bit shuffle, as a mask is one bit of information a byte.
    return [BloscCodec(cname="zstd", clevel=_LEVEL, shuffle="bitshuffle", typesize=1, blocksize=num_bytes)]


def _compress_blosc(chunk: NDArray[np.generic]) -> NDArray[np.uint8]:
    content = blosc.compress(_flat(chunk), b"zstd", _LEVEL, blosc.BITSHUFFLE, chunk.nbytes, 1)
    return np.frombuffer(content, dtype=np.uint8)


def _decompress_blosc(content: NDArray[np.uint8], out: NDArray[np.uint8]) -> None:
    # Blosc believes its header: it would leave the rest of `out` as it is, or read beyond the end of the content.
    header = content[: _BLOSC_HEADER.size].tobytes()
    if len(header) < _BLOSC_HEADER.size or _BLOSC_HEADER.unpack(header) != (out.size, len(content)):
        raise ValueError(f"not {out.size} bytes in Blosc's format")
    if not _unpack_bits(content, out.reshape(-1)):
        blosc.decompress(content, out)


def _unpack_bits(content: NDArray[np.uint8], out: NDArray[np.uint8]) -> bool:
    """Decode zeros and ones that are one block, in half of Blosc's time; False: they are something else.

    A block of n bytes is shuffled to n/8 bytes with the lowest bit of each, then n/8 with the next bit, and so on.
    Blosc undoes this for all eight bits; of a mask, only the lowest is ever set.
    """
    # Each of the eight bits of a byte has n/8 bytes: n must be a multiple of 8.
    if len(content) < _BLOSC_BLOCK.size or out.size % 8:
        return False
    header = content[: _BLOSC_BLOCK.size].tobytes()
    # Bytes 0-3 are `kind`, then five numbers of 32 bits: bytes before compression, of a block and after compression;
    # then where the first block begins, and the length in front of it.
    *kind, num_bytes, block_bytes, _, start, num_compressed = _BLOSC_BLOCK.unpack(header)
    rest = content[_BLOSC_BLOCK.size :]
    if tuple(kind) != _ZSTD_BITS or block_bytes != num_bytes or start != _BLOSC_BLOCK.size - 4:
        return False
    if num_compressed != len(rest) or num_compressed == num_bytes:  # of all its length: it is not compressed
        return False
    shuffled = _zstd_values(rest, num_bytes)
    # A higher bit is set somewhere: these are no zeros and ones.
    if shuffled[num_bytes // 8 :].max():
        return False
    out[:] = np.unpackbits(shuffled[: num_bytes // 8], bitorder="little")
    return True


_JPEG = JpegCodec(quality=95, subsampling="4:4:4")


def _encode_jpeg(chunk: NDArray[np.generic]) -> NDArray[np.uint8]:
    return np.frombuffer(_JPEG.encode_pictures(np.asarray(chunk, dtype=np.uint8)), dtype=np.uint8)


_CODECS: dict[CodecName, Codec] = {
    "raw": Codec(BytesCodec(), lambda _: [], _flat, _copy),
    "zstd": Codec(BytesCodec(), lambda _: [ZstdCodec(level=_LEVEL)], _compress_zstd, _decompress_zstd),
    "blosc": Codec(BytesCodec(), _blosc, _compress_blosc, _decompress_blosc),
    "jpeg": Codec(_JPEG, lambda _: [], _encode_jpeg, _JPEG.decode_pictures, lossy=True),
    "int8-rows": Codec(Int8RowsCodec(), lambda _: [], encode_rows, decode_rows, lossy=True),
}
"""Name, as `ArraySpec` has it -> codec."""
