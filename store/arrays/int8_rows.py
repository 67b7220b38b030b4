"""Vectors in a byte a number, as a codec of Zarr v3: each row has a scale of its own.

A row of float32 is stored as numbers of -127..127, and the float32 that they are multiplied with. The scale keeps the
length of the row: a row of unit norm is read as one of unit norm, and only its direction is rounded. A row with NaN is
read as a row of NaN.

Zarr has no codec for this, so it is registered as `fda.int8_rows` in zarr-python's public registry. With `fda`
installed, `zarr.open` opens such an array as one of float32. Without it: a chunk of `n` rows is `n` little-endian
float32, the scales, then `n * dim` int8, and the four bytes of its CRC-32C.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray
from zarr.abc.codec import ArrayBytesCodec
from zarr.registry import register_codec

if TYPE_CHECKING:
    from zarr.core.array_spec import ArraySpec
    from zarr.core.buffer import Buffer, NDBuffer
    from zarr.core.common import JSON

INT8_ROWS_NAME = "fda.int8_rows"
_MOST = 127
"""-128 is not used, so that a row and its negative are rounded alike."""
_SCALE_BYTES = 4


@dataclass(frozen=True)
class Int8RowsCodec(ArrayBytesCodec):
    """Vectors along the last axis: (..., dim), float32."""

    is_fixed_size = True

    @classmethod
    def from_dict(cls, data: dict[str, JSON]) -> Self:
        """Read the codec's entry in an array's metadata."""
        if data.get("name") != INT8_ROWS_NAME:
            raise ValueError(f"not a configuration of {INT8_ROWS_NAME}: {data}")
        return cls()

    def to_dict(self) -> dict[str, JSON]:
        """The codec's entry in an array's metadata."""
        return {"name": INT8_ROWS_NAME}

    def compute_encoded_size(self, input_byte_length: int, chunk_spec: ArraySpec) -> int:
        """Bytes of a chunk."""
        return math.prod(chunk_spec.shape[:-1]) * (_SCALE_BYTES + chunk_spec.shape[-1])

    async def _encode_single(self, chunk_array: NDBuffer, chunk_spec: ArraySpec) -> Buffer:
        rows = np.ascontiguousarray(chunk_array.as_numpy_array(), dtype=np.float32)
        return chunk_spec.prototype.buffer.from_bytes(encode_rows(rows).tobytes())

    async def _decode_single(self, chunk_bytes: Buffer, chunk_spec: ArraySpec) -> NDBuffer:
        out = np.empty(chunk_spec.shape, dtype=np.float32)
        decode_rows(np.asarray(chunk_bytes.as_numpy_array(), dtype=np.uint8), out.view(np.uint8))
        return chunk_spec.prototype.nd_buffer.from_numpy_array(out)


def encode_rows(vectors: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Round vectors.

    Args:
        vectors: float32, shape (..., dim).

    Returns:
        The bytes of a chunk.
    """
    rows = np.asarray(vectors, dtype=np.float32).reshape(-1, vectors.shape[-1]).astype(np.float64)
    is_known = np.isfinite(rows).all(axis=1, keepdims=True)
    # No int8 is NaN: the scale becomes NaN below, and with it the row when it is read.
    rows = np.where(is_known, rows, 0.0)
    largest = np.abs(rows).max(axis=1, keepdims=True)
    # The largest number of a row becomes 127; a row of zeros stays one.
    rounded = np.rint(rows * np.divide(_MOST, largest, out=np.zeros_like(largest), where=largest > 0))
    lengths, of_rounded = (np.linalg.norm(one, axis=1, keepdims=True) for one in (rows, rounded))
    # Not `largest / 127`: this scale gives the rounded row the length of the row.
    scales = np.divide(lengths, of_rounded, out=np.zeros_like(lengths), where=of_rounded > 0)
    scales = np.where(is_known, scales, np.nan)
    return np.frombuffer(scales.astype("<f4").tobytes() + rounded.astype(np.int8).tobytes(), dtype=np.uint8)


def decode_rows(content: NDArray[np.uint8], out: NDArray[np.uint8]) -> None:
    """Read vectors into `out`, an array of float32 in C order, viewed as bytes: shape (..., 4 * dim).

    Raises:
        ValueError: The bytes are not those of as many rows.
    """
    rows = out.reshape(-1, out.shape[-1]).view(np.float32)
    num_rows, dim = rows.shape
    if len(content) != num_rows * (_SCALE_BYTES + dim):
        raise ValueError(f"a chunk is not {num_rows} rows of {dim} int8 with their scales")
    scales = np.frombuffer(content[: num_rows * _SCALE_BYTES].tobytes(), dtype="<f4")
    np.multiply(content[num_rows * _SCALE_BYTES :].view(np.int8).reshape(rows.shape), scales[:, None], out=rows)


register_codec(INT8_ROWS_NAME, Int8RowsCodec)
