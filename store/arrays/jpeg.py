"""JPEG as a codec of Zarr v3: every picture of a chunk, one below the other, in one ordinary JPEG file.

Zarr has no standard JPEG codec (zarr-extensions #66 is a draft, and imagecodecs has one in no release for Python 3.11),
so this one is registered as `fda.jpeg` in zarr-python's public registry. With `fda` installed, `zarr.open` opens such
an array. Without it: a chunk, without the last four bytes (its CRC-32C), is a JPEG file.

If the height of a picture is a multiple of 8, no two pictures share a block of 8 x 8 pixels: stacking changes no pixel.
"""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Self

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL.JpegImagePlugin import JpegImageFile
from zarr.abc.codec import ArrayBytesCodec
from zarr.registry import register_codec

from store.arrays.codec_names import MAX_JPEG_SIDE

if TYPE_CHECKING:
    from zarr.core.array_spec import ArraySpec
    from zarr.core.buffer import Buffer, NDBuffer
    from zarr.core.common import JSON

JPEG_NAME = "fda.jpeg"
_SUBSAMPLINGS = {
    "4:4:4": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    "4:2:2": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422,
    "4:2:0": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
}


@dataclass(frozen=True)
class JpegCodec(ArrayBytesCodec):
    """Pictures of uint8: (..., height, width, 3) is RGB, anything else (..., height, width) is grey."""

    quality: int = 95
    """1..100, libjpeg's scale."""
    subsampling: str = "4:4:4"
    """Chroma subsampling; 4:4:4 keeps the full resolution of the colours."""

    is_fixed_size = False

    def __post_init__(self) -> None:
        if not 1 <= self.quality <= 100:
            raise ValueError(f"JPEG quality must be 1..100, got {self.quality}")
        if self.subsampling not in _SUBSAMPLINGS:
            raise ValueError(f"JPEG subsampling must be one of {', '.join(_SUBSAMPLINGS)}, got {self.subsampling!r}")

    @classmethod
    def from_dict(cls, data: dict[str, JSON]) -> Self:
        """Read the codec's entry in an array's metadata."""
        configuration = data.get("configuration", {})
        if data.get("name") != JPEG_NAME or not isinstance(configuration, dict):
            raise ValueError(f"not a configuration of {JPEG_NAME}: {data}")
        return cls(**configuration)

    def to_dict(self) -> dict[str, JSON]:
        """The codec's entry in an array's metadata."""
        return {"name": JPEG_NAME, "configuration": {"quality": self.quality, "subsampling": self.subsampling}}

    def encode_pictures(self, pictures: NDArray[np.uint8]) -> bytes:
        """Encode all pictures of a chunk as one JPEG file.

        Raises:
            ValueError: They are too many, or too wide, for one JPEG file.
        """
        tall = _stacked(pictures)
        if max(tall.shape[:2]) > MAX_JPEG_SIDE:
            raise ValueError(
                f"a clip of shape {pictures.shape} makes a JPEG of {tall.shape[0]} x {tall.shape[1]} pixels, and "
                f"{MAX_JPEG_SIDE} a side is the maximum: use fewer frames, or another frame codec"
            )
        if tall.ndim == 3:
            # OpenCV encodes BGR. It decodes to RGB if asked, below.
            tall = np.asarray(cv2.cvtColor(tall, cv2.COLOR_RGB2BGR), dtype=np.uint8)
        settings = [
            *(cv2.IMWRITE_JPEG_QUALITY, self.quality),
            *(cv2.IMWRITE_JPEG_SAMPLING_FACTOR, _SUBSAMPLINGS[self.subsampling]),
        ]
        return cv2.imencode(".jpg", tall, settings)[1].tobytes()

    def decode_pictures(self, content: NDArray[np.uint8], out: NDArray[np.uint8]) -> None:
        """Decode a JPEG file into `out`, an array of the pictures' shape.

        Raises:
            ValueError: It is not a JPEG file, or its size is another.
        """
        tall = _stacked(out)
        if _size_of(content) != tall.shape[:2]:  # before it is decoded: 32,000 x 32,000 pixels would take 7 GiB
            raise ValueError(f"a chunk is not a JPEG of shape {tall.shape}")
        decoded = cv2.imdecode(content, cv2.IMREAD_COLOR_RGB if tall.ndim == 3 else cv2.IMREAD_GRAYSCALE)
        if decoded is None or decoded.shape != tall.shape:
            raise ValueError(f"a chunk is not a JPEG of shape {tall.shape}")
        # `tall` is a view of `out`.
        tall[...] = decoded

    def compute_encoded_size(self, input_byte_length: int, _chunk_spec: ArraySpec) -> int:
        """Raise: Zarr asks this of codecs of a fixed output size, and the size of a JPEG depends on the picture."""
        raise NotImplementedError

    async def _encode_single(self, chunk_array: NDBuffer, chunk_spec: ArraySpec) -> Buffer:
        pictures = np.ascontiguousarray(chunk_array.as_numpy_array(), dtype=np.uint8)
        return chunk_spec.prototype.buffer.from_bytes(self.encode_pictures(pictures))

    async def _decode_single(self, chunk_bytes: Buffer, chunk_spec: ArraySpec) -> NDBuffer:
        out = np.empty(chunk_spec.shape, dtype=np.uint8)
        self.decode_pictures(np.asarray(chunk_bytes.as_numpy_array(), dtype=np.uint8), out)
        return chunk_spec.prototype.nd_buffer.from_numpy_array(out)


def _size_of(content: NDArray[np.uint8]) -> tuple[int, int] | None:
    """Height and width that the header of a JPEG file gives; None if it is none. No pixel is decoded."""
    try:
        with JpegImageFile(BytesIO(content.tobytes())) as picture:
            return picture.height, picture.width
    except (SyntaxError, OSError, ValueError):  # all that a damaged header makes Pillow raise
        return None


def _stacked(pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A view of the pictures, one below the other: shape (total height, width, 3), or (total height, width) if grey."""
    colour = pictures.ndim >= 3 and pictures.shape[-1] == 3
    return pictures.reshape(-1, *(pictures.shape[-2:] if colour else pictures.shape[-1:]))


register_codec(JPEG_NAME, JpegCodec)
