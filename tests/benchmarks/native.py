"""fda's decoding alone: its frames at their own size, without the resize, so that decoders can be compared."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from unittest.mock import patch

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from pipeline.video import drawing
from pipeline.video.clips import DecodeOptions
from pipeline.video.decoding import decode_clip


class NativeAlbum:
    """In the place of `pictures.Album`: converts as the peers do, and keeps what comes out."""

    frames: dict[int, NDArray[np.uint8]]
    """Of the last video."""

    def __init__(self, options: DecodeOptions, pixel_aspect: Fraction) -> None:
        self.options = options
        self.height = self.width = 16
        self._reformatter = VideoReformatter()
        NativeAlbum.frames = {}

    def add(self, place: int, frame: VideoFrame) -> None:
        rgb = self._reformatter.reformat(frame, format="rgb24", interpolation="BICUBIC", threads=1).to_ndarray()
        NativeAlbum.frames[place] = rgb.astype(np.uint8, copy=False)

    def pictures(self, places: Sequence[int]) -> NDArray[np.uint8]:
        return np.zeros((len(places), 1, 1, 3), dtype=np.uint8)


def decode_native(path: str, num_frames: int) -> list[NDArray[np.uint8]]:
    """The frames that `decode_clip` would draw, each of shape (height, width, 3), in order."""
    with patch.object(drawing, "Album", NativeAlbum):
        decode_clip(Path(path), DecodeOptions(num_frames, image_size=1, min_side=1))
    return [NativeAlbum.frames[place] for place in sorted(NativeAlbum.frames)]
