"""The names of the codecs, and their limits: what a command's help and its checks need, without loading a codec."""

from __future__ import annotations

from typing import Literal

CodecName = Literal["raw", "zstd", "blosc", "jpeg", "int8-rows"]

FRAME_CODECS: tuple[CodecName, ...] = ("raw", "zstd", "blosc", "jpeg")
"""Those for pictures."""

MAX_JPEG_SIDE = 65_500
"""libjpeg's limit on either side of a picture, pixels."""
