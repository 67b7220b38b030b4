"""From a decoded frame to upright RGB pixels at their own size."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from av.buffer import Buffer
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

_IDENTITY = (1, 0, 0, 0, 1, 0, 0, 0, 1)


def to_rgb(frame: VideoFrame, reformatter: VideoReformatter) -> NDArray[np.uint8]:
    """Convert one frame as its tags say, and turn it the way it is to be shown.

    Colour matrix and range are those the frame is tagged with; an untagged one is taken as BT.601, limited range, as
    swscale and OpenCV do. An alpha channel is dropped. Pixels that are not square stay as they are stored.

    Returns:
        Shape (height, width, 3), of the frame as displayed.

    Raises:
        av.error.FFmpegError: swscale cannot convert from the frame's format.
    """
    rgb = reformatter.reformat(frame, format="rgb24", interpolation="BICUBIC", threads=1).to_ndarray()
    return upright(rgb.astype(np.uint8, copy=False), display_matrix(frame))


def display_matrix(frame: VideoFrame) -> tuple[int, ...]:
    """The 9 numbers of the frame's display matrix, row by row, in ffmpeg's fixed point; the identity when untagged."""
    side_data: object = frame.side_data.get("DISPLAYMATRIX")
    if not isinstance(side_data, Buffer):
        return _IDENTITY
    return tuple(np.frombuffer(bytes(side_data), dtype=np.int32).tolist())


def upright(rgb: NDArray[np.uint8], matrix: Sequence[int]) -> NDArray[np.uint8]:
    """Turn and flip a stored picture as its display matrix says; other angles go to the nearest right one.

    The matrix `(a b u, c d v, x y w)` takes a stored point (column p, row q) to (a p + c q, b p + d q), see
    `libavutil/display.h`.

    Args:
        rgb: Shape (height, width, 3).
        matrix: Nine numbers.

    Returns:
        Shape (height, width, 3) or (width, height, 3).

    A quarter turn clockwise puts the left column, read upwards, on top:

    >>> picture = np.array([[[1], [2]], [[3], [4]]], dtype=np.uint8)
    >>> upright(picture, (0, 1, 0, -1, 0, 0, 0, 0, 1))[:, :, 0].tolist()
    [[3, 1], [4, 2]]
    """
    a, b, _, c, d = matrix[:5]
    turned = abs(b) + abs(c) > abs(a) + abs(d)
    picture = rgb.transpose(1, 0, 2) if turned else rgb
    down, right = (b, c) if turned else (d, a)  # what moves along the new rows, and along the new columns
    return np.ascontiguousarray(picture[:: -1 if down < 0 else 1, :: -1 if right < 0 else 1])
