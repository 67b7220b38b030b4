"""Colour tags that the scaler refuses: the nearest that it knows is used and noted, and no status is wrong."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from pipeline.video.clips import VideoError
from pipeline.video.colours import take_nearest_colours
from pipeline.video.decoding import decode_clip
from pipeline.video.options import DecodeOptions
from pipeline.video.pictures import Album
from pipeline.video.reading.display import AS_STORED
from store.schema import VideoStatus

ONE = DecodeOptions(1, 16)
BT709, UNTAGGED, FCC, SMPTE240M, BT2020 = 1, 2, 4, 7, 9
KNOWN = {0, 1, 2, 4, 5, 6, 7, 9}
NEAREST = {
    3: 2,
    8: 2,
    10: BT2020,
    11: BT2020,
    12: BT709,
    13: BT709,
    14: BT2020,
    15: BT2020,
    16: 2,
    17: 2,
    18: 2,
    200: 2,
}
"""Tag -> what is used; 12 and 13, which follow from the primaries, without these."""


def frame_of(pix_fmt: str, matrix: int, primaries: int = UNTAGGED, color_range: int = 0) -> VideoFrame:
    frame = VideoFrame(32, 32, pix_fmt)
    for plane, level in zip(frame.planes, (120, 90, 160, 255), strict=False):
        plane.update(bytes([level]) * plane.buffer_size)
    frame.colorspace, frame.color_primaries, frame.color_range = matrix, primaries, color_range
    frame.pts, frame.time_base = 0, Fraction(1, 25)
    return frame


def picture_of(frame: VideoFrame) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    album = Album(ONE, AS_STORED)
    album.add(0, frame)
    return album.picture(0), album.notes


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv444p", "nv12", "yuv422p10le"])
@pytest.mark.parametrize("matrix", [*NEAREST, *sorted(KNOWN)])
def test_every_matrix_is_converted(matrix: int, pix_fmt: str) -> None:
    picture, notes = picture_of(frame_of(pix_fmt, matrix))
    right, none = picture_of(frame_of(pix_fmt, NEAREST.get(matrix, matrix)))
    np.testing.assert_array_equal(picture, right)
    assert none == ()
    assert len(notes) == (matrix not in KNOWN)


@pytest.mark.parametrize(
    ("primaries", "used"),
    [
        (1, BT709),
        (2, BT709),
        (4, FCC),
        (5, BT709),
        (6, SMPTE240M),
        (7, SMPTE240M),
        (9, BT2020),
        (12, BT709),
        (250, BT709),
    ],
)
def test_a_matrix_derived_from_primaries_is_that_of_the_primaries(primaries: int, used: int) -> None:
    right, _ = picture_of(frame_of("yuv420p", used))
    for matrix in (12, 13):
        picture, notes = picture_of(frame_of("yuv420p", matrix, primaries))
        np.testing.assert_array_equal(picture, right)
        is_same = matrix == 12 and primaries in (BT709, BT2020)
        assert len(notes) == (not is_same)


@pytest.mark.parametrize("pix_fmt", ["gray", "gray10le", "rgb24", "bgra", "gbrp", "ya8", "bayer_rggb8"])
def test_pictures_without_chroma_need_no_note(pix_fmt: str) -> None:
    for matrix in NEAREST:
        assert take_nearest_colours(frame_of(pix_fmt, matrix)) is None
        assert picture_of(frame_of(pix_fmt, matrix))[1] == ()


@pytest.mark.parametrize("color_range", [3, 4, 255])
def test_a_range_that_is_none_is_taken_as_untagged(color_range: int) -> None:
    picture, _ = picture_of(frame_of("yuv420p", BT709, color_range=color_range))
    np.testing.assert_array_equal(picture, picture_of(frame_of("yuv420p", BT709))[0])


def test_a_picture_that_the_scaler_cannot_convert_is_unsupported() -> None:
    """Which is no property of the file: it was decoded."""
    with pytest.raises(VideoError, match="cannot convert rgb4 pictures: Operation not supported") as caught:
        picture_of(frame_of("rgb4", UNTAGGED))
    assert caught.value.status == VideoStatus.UNSUPPORTED


@pytest.mark.parametrize("matrix", [8, 10, 12])
def test_a_video_says_once_what_was_used(tmp_path: Path, matrix: int) -> None:
    path = tmp_path / "tagged.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(25), options={"x264-params": "log-level=none"})
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        stream.codec_context.thread_count = 1
        stream.codec_context.colorspace = matrix
        for index in range(6):
            frame = frame_of("yuv420p", matrix)
            frame.pts = index
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    clip = decode_clip(path, DecodeOptions(4, 16))
    (note,) = clip.notes
    assert note.startswith("colour matrix ")
    assert "was used" in note
    np.testing.assert_array_equal(clip.sample.frames[0], picture_of(frame_of("yuv420p", NEAREST[matrix]))[0])
