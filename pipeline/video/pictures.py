"""From a decoded frame to the square RGB picture that is stored."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Self

import av.error
import cv2
import numpy as np
from av.buffer import Buffer
from av.filter import Graph
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.typing import NDArray

from pipeline.video.clips import VideoError
from pipeline.video.colours import has_chroma, take_nearest_colours
from pipeline.video.options import DecodeOptions, Resize
from pipeline.video.reading.display import AS_STORED, Crop, Display
from pipeline.video.reading.opening import check_pixels
from pipeline.video.resizing import centre, centre_crop, resize_and_crop, resized_shape
from store.schema import VideoStatus

_IDENTITY = (1, 0, 0, 0, 1, 0, 0, 0, 1)
_SCALING = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT | Interpolation.BITEXACT
"""Without accurate rounding, swscale makes colours about one grey level too dark. `BITEXACT` gives the same pixels on
every processor. Bicubic in one step is within 1 grey level of PIL's filter, at half its time or less."""
_NEWER_SIDE_DATA = range(28, 64)
"""Kinds of side data (`AVFrameSideDataType`) after the last one in PyAV 18.1; ffmpeg 8.1 has four of them."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A converted frame."""

    rgb: NDArray[np.uint8]
    """Shape (size, size, 3)."""
    height: int
    """Of the frame as displayed, in pixels."""
    width: int
    note: str | None = None
    """A note on it, in one line."""


class Album:
    """The converted frames of one video, each by its place in the video."""

    def __init__(self, options: DecodeOptions, display: Display) -> None:
        self._options = options
        self._display = display
        # One for all frames: it keeps what it has set up. `frame.reformat()` with its default threads takes 1.3x to 2x.
        self._reformatter = VideoReformatter()
        self._pictures: dict[int, Picture] = {}

    @property
    def height(self) -> int:
        """Of the first frame added, as displayed, in pixels."""
        return next(iter(self._pictures.values())).height

    @property
    def width(self) -> int:
        """As `height`."""
        return next(iter(self._pictures.values())).width

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes on the pictures, each in one line, once."""
        return tuple(dict.fromkeys(one.note for one in self._pictures.values() if one.note is not None))

    def add(self, place: int, frame: VideoFrame) -> None:
        """Convert a frame.

        Raises:
            VideoError: `UNSUPPORTED`: its size is outside the limits, or swscale cannot convert it.
        """
        height, width = shown_shape(frame, self._display, display_matrix(frame))
        self._check_size(frame, height, width)
        note = take_nearest_colours(frame)
        size, resize = self._options.image_size, self._options.resize
        try:
            rgb = square_picture(frame, self._reformatter, size, resize, self._display)
        except av.error.FFmpegError as error:  # it says nothing about the file, which was decoded
            reason = f"ffmpeg's scaler cannot convert {frame.format.name} pictures: {error.strerror}"
            raise VideoError(VideoStatus.UNSUPPORTED, reason) from error
        self._pictures[place] = Picture(rgb, height, width, note)

    def picture(self, place: int) -> NDArray[np.uint8]:
        """The picture at a place, shape (size, size, 3)."""
        return self._pictures[place].rgb

    def holds(self, places: Iterable[int]) -> bool:
        """Whether there is a picture for each place."""
        return self._pictures.keys() >= set(places)

    def moved(self, positions: Mapping[int, int]) -> Self:
        """Some of the pictures under other places; `positions` maps each new place to the present one."""
        album = type(self)(self._options, self._display)
        album._pictures = {place: self._pictures[position] for place, position in positions.items()}
        return album

    def keep(self, places: Collection[int]) -> None:
        """Let go of all pictures but those at some places."""
        self._pictures = {place: picture for place, picture in self._pictures.items() if place in places}

    def _check_size(self, frame: VideoFrame, height: int, width: int) -> None:
        options = self._options
        check_pixels(frame.height, frame.width, options)
        if min(height, width) < options.min_side:
            limit = f"its shorter side must have at least {options.min_side} pixels"
        elif max(height, width) > options.max_aspect * min(height, width):
            limit = f"its sides may differ by a factor of {options.max_aspect:g}"
        else:
            return
        raise VideoError(VideoStatus.UNSUPPORTED, f"the picture is {width}x{height}, {limit}")


def square_picture(
    frame: VideoFrame,
    reformatter: VideoReformatter,
    size: int,
    resize: Resize = Resize.SWSCALE,
    display: Display = AS_STORED,
) -> NDArray[np.uint8]:
    """Convert one frame as its tags say, cut off what is not shown, turn it upright, and cut out its middle square.

    Colour matrix and range are the frame's tags; without tags, BT.601 with limited range, as in swscale and OpenCV.
    High dynamic range is converted by its matrix, not tone-mapped. Interlaced fields stay woven. An alpha channel is
    dropped. Pixels that are not square are made square.

    Args:
        frame: As decoded.
        reformatter: Shared by all frames of a video.
        size: Side of the square, pixels.
        resize: By swscale in one step, or as CLIP does it.
        display: Which part of it is shown, and the shape of a pixel.

    Returns:
        Shape (size, size, 3), RGB.

    Raises:
        av.error.FFmpegError: swscale cannot convert from the frame's format.
    """
    matrix = display_matrix(frame)
    # Before the cut: `display` refers to pictures of the stored size, and the cut one has another.
    shown = shown_shape(frame, display, matrix)
    crop = display.crop_of(frame.height, frame.width)
    if crop is not None:
        frame = _cut(frame, reformatter, crop, Interpolation.BICUBIC if resize is Resize.CLIP else _SCALING)
    if resize is Resize.CLIP:
        rgb = _converted(frame, reformatter, frame.height, frame.width, Interpolation.BICUBIC)
        return resize_and_crop(upright(rgb, matrix), size, shown)
    height, width = resized_shape(*shown, size)
    # swscale makes the stored picture smaller, and only the small one is turned. Turning swaps the sides back.
    stored = (width, height) if _is_turned(matrix) else (height, width)
    if not has_chroma(frame):
        return centre_crop(upright(_converted(frame, reformatter, *stored, _SCALING), matrix), size)
    planes = [centre(upright(plane, matrix), size) for plane in _planes(frame, reformatter, *stored)]
    return np.asarray(cv2.merge(planes), dtype=np.uint8)


def _converted(
    frame: VideoFrame, reformatter: VideoReformatter, height: int, width: int, flags: Interpolation
) -> NDArray[np.uint8]:
    rgb = reformatter.reformat(frame, width, height, "rgb24", interpolation=flags, threads=1)
    return rgb.to_ndarray().astype(np.uint8, copy=False)


def _planes(frame: VideoFrame, reformatter: VideoReformatter, height: int, width: int) -> Iterator[NDArray[np.uint8]]:
    """Red, green and blue of a frame that has chroma, scaled: the values of `_converted`, in half of its time or less.

    swscale has vector code for planar RGB, and none for RGB in one plane.
    """
    planar = reformatter.reformat(frame, width, height, "gbrp", interpolation=_SCALING, threads=1)
    green, blue, red = planar.planes  # the order of ffmpeg's `gbrp`
    for plane in (red, green, blue):
        # (h, line_size) -> (h, w): ffmpeg pads rows to the width of its vectors.
        yield np.frombuffer(memoryview(plane), dtype=np.uint8).reshape(height, plane.line_size)[:, :width]


def _cut(frame: VideoFrame, reformatter: VideoReformatter, crop: Crop, flags: Interpolation) -> VideoFrame:
    """The part of a frame that is shown, as RGB: there a cut at an odd pixel does not split chroma samples."""
    rgb = _converted(frame, reformatter, frame.height, frame.width, flags)
    return VideoFrame.from_ndarray(np.ascontiguousarray(rgb[slice(*crop.rows), slice(*crop.columns)]), format="rgb24")


def shown_shape(frame: VideoFrame, display: Display, matrix: Sequence[int]) -> tuple[int, int]:
    """Height and width of a frame as displayed: cut, its wider pixels made square, and turned by its display matrix."""
    height, width = display.shape_of(frame.height, frame.width)
    return (width, height) if _is_turned(matrix) else (height, width)


def display_matrix(frame: VideoFrame) -> tuple[int, ...]:
    """The 9 numbers of the frame's display matrix, row by row, in ffmpeg's fixed point; the identity when untagged."""
    try:
        side_data: object = frame.side_data.get("DISPLAYMATRIX")
    except ValueError:
        # PyAV 18.1 refuses all side data of a frame if one kind is not in its table: EXIF, the view ids of MV-HEVC.
        side_data = _without_newer_side_data(frame).side_data.get("DISPLAYMATRIX")
    if not isinstance(side_data, Buffer):
        return _IDENTITY
    return tuple(np.frombuffer(bytes(side_data), dtype=np.int32).tolist())


def _without_newer_side_data(frame: VideoFrame) -> VideoFrame:
    """A second reference to a frame, from which a filter of ffmpeg has taken the side data that PyAV does not know."""
    graph = Graph()
    time_base = frame.time_base or Fraction(1)
    last = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=time_base)
    for kind in _NEWER_SIDE_DATA:
        without = graph.add("sidedata", f"mode=delete:type={kind}")
        last.link_to(without)
        last = without
    last.link_to(graph.add("buffersink"))
    graph.configure()
    graph.push(frame)
    filtered = graph.pull()
    assert isinstance(filtered, VideoFrame)
    return filtered


def _is_turned(matrix: Sequence[int]) -> bool:
    """Whether rows become columns."""
    a, b, _, c, d = matrix[:5]
    return abs(b) + abs(c) > abs(a) + abs(d)


def upright(picture: NDArray[np.uint8], matrix: Sequence[int]) -> NDArray[np.uint8]:
    """Turn and flip a stored picture as its display matrix says, other angles to the nearest quarter turn.

    The matrix `(a b u, c d v, x y w)` takes a stored point (column p, row q) to (a p + c q, b p + d q), see
    `libavutil/display.h`.

    Args:
        picture: Shape (height, width) or (height, width, 3).
        matrix: Nine numbers.

    Returns:
        A view of the picture, its first two axes swapped or not.

    A quarter turn clockwise puts the left column, read upwards, on top:

    >>> picture = np.array([[[1], [2]], [[3], [4]]], dtype=np.uint8)
    >>> upright(picture, (0, 1, 0, -1, 0, 0, 0, 0, 1))[:, :, 0].tolist()
    [[3, 1], [4, 2]]
    """
    a, b, _, c, d = matrix[:5]
    turned = _is_turned(matrix)
    if turned:
        picture = picture.swapaxes(0, 1)
    down, right = (b, c) if turned else (d, a)  # what moves along the new rows, and along the new columns
    return picture[:: -1 if down < 0 else 1, :: -1 if right < 0 else 1]
