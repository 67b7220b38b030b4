"""Frames -> a video file: the same frames give the same bytes."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import numpy as np
from av.video.stream import VideoStream
from numpy.typing import NDArray

from pipeline.synthetic.options import Codec
from pipeline.synthetic.suites import Amount

# x264's macroblock tree gives other bytes from run to run, even with one thread.
_ENCODERS = {
    Codec.H264: ("libx264", {"preset": "veryfast", "x264-params": "threads=1:mbtree=0:rc-lookahead=0"}),
    Codec.HEVC: ("libx265", {"preset": "veryfast", "x265-params": "pools=none:frame-threads=1:log-level=none"}),
    Codec.VP9: ("libvpx-vp9", {"deadline": "good", "cpu-used": "5", "b": "0", "row-mt": "0", "lag-in-frames": "0"}),
}
"""Codec -> name of the encoder, and its options beside the quality."""


class VideoWriter:
    """Writes one video, a frame at a time; a context manager."""

    def __init__(self, path: Path, amount: Amount, codec: Codec, crf: int) -> None:
        """Open an `.mp4` of the size and rate of `amount`; a higher `crf` is smaller and worse."""
        encoder, options = _ENCODERS[codec]
        # Otherwise the file has FFmpeg's version in it, and equal options would give other bytes after an update.
        self._container = av.open(str(path), "w", format="mp4", options={"fflags": "+bitexact"})
        stream = self._container.add_stream(encoder, rate=Fraction(amount.fps))
        assert isinstance(stream, VideoStream)
        stream.height, stream.width = amount.height, amount.width
        stream.pix_fmt = "yuv420p"
        # Encoders divide pictures among threads, and the bytes depend on how.
        stream.codec_context.thread_count = 1
        stream.options = {"crf": str(crf), **options}
        self._stream = stream

    def add(self, rgb: NDArray[np.uint8]) -> None:
        """Add a frame of shape (height, width, 3)."""
        self._container.mux(self._stream.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._container.mux(self._stream.encode())
        finally:
            self._container.close()
