"""fda's decoding alone: its frames at their own size, without the resize, so that decoders can be compared."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import patch

import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from pipeline.video import drawing
from pipeline.video.decoding import decode_clip
from pipeline.video.options import DecodeOptions
from pipeline.video.pictures import Album, Picture


class NativeAlbum(Album):
    """Converts as the peers do, and keeps what comes out."""

    last: NativeAlbum
    """That of the last clip."""

    def add(self, place: int, frame: VideoFrame) -> None:
        rgb = self._reformatter.reformat(frame, format="rgb24", interpolation="BICUBIC", threads=1).to_ndarray()
        self._pictures[place] = Picture(rgb.astype(np.uint8, copy=False), frame.height, frame.width)

    def picture(self, place: int) -> NDArray[np.uint8]:
        NativeAlbum.last = self
        return np.zeros((1, 1, 3), dtype=np.uint8)

    def native(self) -> list[NDArray[np.uint8]]:
        """Each of shape (height, width, 3), in order."""
        return [self._pictures[place].rgb for place in sorted(self._pictures)]


def decode_native(path: str, num_frames: int) -> list[NDArray[np.uint8]]:
    """The frames that `decode_clip` would draw, at their own size."""
    with patch.object(drawing, "Album", NativeAlbum):
        decode_clip(Path(path), DecodeOptions(num_frames, image_size=1, min_side=1))
    return NativeAlbum.last.native()
