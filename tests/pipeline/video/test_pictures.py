from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from pipeline.video.decoding import decode_clip
from pipeline.video.options import DecodeOptions, Resize
from pipeline.video.pictures import display_matrix, square_picture, upright
from pipeline.video.resizing import resize_and_crop
from tests.videos import Encoding, decode_all, decode_all_with_opencv, textured_frames, write_video

BT709, BT601 = 1, 6
LIMITED, FULL = 1, 2
UNTAGGED = 2
_WEIGHTS = {BT709: (0.2126, 0.0722), BT601: (0.299, 0.114), UNTAGGED: (0.299, 0.114)}
"""Of red and of blue, ITU-R BT.709 and BT.601."""


def expected_rgb(y: int, u: int, v: int, matrix: int, color_range: int) -> NDArray[np.float64]:
    """The formula of ITU-R BT.709 and BT.601, limited or full range."""
    red_weight, blue_weight = _WEIGHTS[matrix]
    full = color_range == FULL
    luma = y / 255 if full else (y - 16) / 219
    blue_difference, red_difference = ((chroma - 128) / (255 if full else 224) for chroma in (u, v))
    red = luma + 2 * (1 - red_weight) * red_difference
    blue = luma + 2 * (1 - blue_weight) * blue_difference
    green = (luma - red_weight * red - blue_weight * blue) / (1 - red_weight - blue_weight)
    return np.clip(255 * np.array([red, green, blue], dtype=np.float64), 0, 255).astype(np.float64)


@pytest.mark.parametrize("color_range", [0, LIMITED, FULL])
@pytest.mark.parametrize("matrix", [UNTAGGED, BT709, BT601])
@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv444p"])
def test_matrix_and_range_are_those_of_the_tags(tmp_path: Path, matrix: int, color_range: int, pix_fmt: str) -> None:
    y, u, v = 120, 90, 160
    path = tmp_path / "tagged.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=Fraction(25))
        stream.width, stream.height, stream.pix_fmt = 32, 32, pix_fmt
        stream.codec_context.colorspace, stream.codec_context.color_range = matrix, color_range
        for index in range(3):
            frame = av.VideoFrame(32, 32, pix_fmt)
            for plane, level in zip(frame.planes, (y, u, v), strict=True):
                plane.update(bytes([level]) * plane.buffer_size)
            frame.pts, frame.colorspace, frame.color_range = index, matrix, color_range
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    for resize in Resize:
        pixel = decode_clip(path, DecodeOptions(1, 16, resize=resize)).sample.frames[0, 8, 8]
        assert np.abs(pixel - expected_rgb(y, u, v, matrix, color_range)).max() <= 2
    pixel = decode_clip(path, DecodeOptions(1, 16, resize=Resize.CLIP)).sample.frames[0, 8, 8]
    np.testing.assert_array_equal(pixel, decode_all_with_opencv(path)[1][8, 8])


@pytest.mark.parametrize("rotation", [None, 0, 90, 180, 270])
def test_a_rotated_video_is_shown_as_opencv_shows_it(tmp_path: Path, rotation: int | None) -> None:
    path = write_video(tmp_path / "rotated.mp4", textured_frames(5), Encoding(rotation=rotation))
    shown = decode_all_with_opencv(path)
    reformatter = VideoReformatter()
    with av.open(str(path)) as container:
        for frame, expected in zip(container.decode(video=0), shown, strict=True):
            picture = square_picture(frame, reformatter, 32, Resize.CLIP)
            np.testing.assert_array_equal(picture, resize_and_crop(expected, 32))
            nearly = square_picture(frame, reformatter, 32, Resize.SWSCALE)
            assert np.abs(nearly.astype(int) - picture).mean() < 6
    clip = decode_clip(path, DecodeOptions(2, 32))
    turned = rotation in {90, 270}
    assert (clip.source.width, clip.source.height) == ((48, 64) if turned else (64, 48))


def test_a_mirrored_video_is_mirrored_back(tmp_path: Path) -> None:
    """Which OpenCV ignores, and players do not."""
    path = write_video(tmp_path / "mirrored.mp4", textured_frames(3), Encoding(rotation=0, vflip=True))
    _, stored = decode_all(path)
    with av.open(str(path)) as container:
        frame = next(iter(container.decode(video=0)))
        assert display_matrix(frame)[4] < 0
        picture = square_picture(frame, VideoReformatter(), 32, Resize.CLIP)
        np.testing.assert_array_equal(picture, resize_and_crop(stored[0][::-1], 32))


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        ((1, 0, 0, 0, 1, 0, 0, 0, 1), [[1, 2], [3, 4]]),
        ((-1, 0, 0, 0, 1, 0, 0, 0, 1), [[2, 1], [4, 3]]),
        ((1, 0, 0, 0, -1, 0, 0, 0, 1), [[3, 4], [1, 2]]),
        ((-1, 0, 0, 0, -1, 0, 0, 0, 1), [[4, 3], [2, 1]]),
        ((0, 1, 0, 1, 0, 0, 0, 0, 1), [[1, 3], [2, 4]]),
        ((0, 1, 0, -1, 0, 0, 0, 0, 1), [[3, 1], [4, 2]]),
        ((0, -1, 0, 1, 0, 0, 0, 0, 1), [[2, 4], [1, 3]]),
        ((0, -1, 0, -1, 0, 0, 0, 0, 1), [[4, 2], [3, 1]]),
    ],
)
def test_all_eight_orientations(matrix: tuple[int, ...], expected: list[list[int]]) -> None:
    picture = np.array([[[1], [2]], [[3], [4]]], dtype=np.uint8)
    assert upright(picture, matrix)[:, :, 0].tolist() == expected


@pytest.mark.parametrize("shape", [(33, 47), (48, 65), (49, 64)])
def test_odd_sizes_are_converted_nearly_as_opencv_does(tmp_path: Path, shape: tuple[int, int]) -> None:
    frames = textured_frames(3, height=shape[0], width=shape[1])
    path = write_video(tmp_path / "odd.mkv", frames, Encoding(codec="ffv1", pix_fmt="yuv420p"))
    _, pictures = decode_all(path)
    for picture, expected in zip(pictures, decode_all_with_opencv(path), strict=True):
        assert np.abs(picture.astype(int) - expected).max() <= 4  # chroma at an odd edge


def test_an_alpha_channel_is_dropped(tmp_path: Path) -> None:
    path = write_video(tmp_path / "alpha.mkv", textured_frames(3), Encoding(codec="ffv1", pix_fmt="bgra"))
    _, pictures = decode_all(path)
    np.testing.assert_array_equal(pictures[0], textured_frames(3)[0])
