from __future__ import annotations

from fractions import Fraction
from io import BytesIO
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray
from PIL import Image

from pipeline.video.decoding import decode_clip
from pipeline.video.options import DecodeOptions, Resize
from pipeline.video.pictures import _SCALING, display_matrix, square_picture, upright
from pipeline.video.resizing import centre_crop, resize_and_crop, resized_shape
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


@pytest.mark.parametrize("kind", ["yuv420p", "yuvj420p", "yuv422p10le", "yuv444p", "nv12", "yuva420p", "yuv410p"])
def test_planes_hold_the_values_that_swscale_gives_as_packed_rgb(kind: str) -> None:
    rng, packed, planar = np.random.default_rng(0), VideoReformatter(), VideoReformatter()
    for width, height in [(64, 48), (33, 47), (100, 60), (32, 32)]:
        frame = av.VideoFrame(width, height, kind)
        for plane in frame.planes:
            plane.update(rng.integers(0, 256, plane.buffer_size, dtype=np.uint8).tobytes())
        for matrix, color_range in [(1, 1), (2, 0), (9, 2)]:
            frame.colorspace, frame.color_range = matrix, color_range
            shape = resized_shape(height, width, 32)
            rgb = packed.reformat(frame, *shape[::-1], "rgb24", interpolation=_SCALING, threads=1).to_ndarray()
            expected = centre_crop(rgb.astype(np.uint8, copy=False), 32)
            np.testing.assert_array_equal(square_picture(frame, planar, 32), expected)


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


def with_exif(path: Path, orientation: int | None, rotation: float | None = None) -> list[Image.Image]:
    """Motion JPEG as cameras write it, EXIF in each picture; returns the pictures as stored."""
    exif = Image.Exif()
    exif[0x010F] = "maker"
    if orientation is not None:
        exif[0x0112] = orientation
    pictures = [Image.fromarray(frame) for frame in textured_frames(6)]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=Fraction(25))
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        if rotation is not None:
            stream.set_display_rotation(rotation)
        for index, picture in enumerate(pictures):
            content = BytesIO()
            picture.save(content, "JPEG", quality=95, exif=exif)
            packet = av.Packet(content.getvalue())
            packet.stream, packet.pts, packet.dts, packet.is_keyframe = stream, index, index, True
            packet.time_base = Fraction(1, 25)
            container.mux(packet)
    return pictures


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["camera.avi", "camera.mov", "camera.mkv"])
def test_side_data_that_pyav_does_not_know_hides_no_orientation(tmp_path: Path, name: str, orientation: int) -> None:
    """EXIF, with each of its orientations: PIL's way to show it is an independent one."""
    pictures = with_exif(tmp_path / name, orientation)
    with av.open(str(tmp_path / name)) as container:
        frame = next(iter(container.decode(video=0)))
        with pytest.raises(ValueError, match="not a valid"):
            _ = frame.side_data  # when PyAV knows it, its filter is no longer needed
    clip = decode_clip(tmp_path / name, DecodeOptions(3, 32, resize=Resize.CLIP))
    way = _TRANSPOSED[orientation]
    for place, got in zip(clip.sample.frame_index, clip.sample.frames, strict=True):
        shown = pictures[place] if way is None else pictures[place].transpose(way)
        assert np.abs(got.astype(int) - resize_and_crop(np.array(shown), 32)).mean() < 6
    assert (clip.source.width > clip.source.height) == (orientation < 5)


_TRANSPOSED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF's orientation -> how a stored picture is shown, as `PIL.ImageOps.exif_transpose` does it."""


def test_side_data_that_pyav_does_not_know_hides_no_rotation_of_the_container(tmp_path: Path) -> None:
    with_exif(tmp_path / "turned.mov", None, rotation=90)
    clip = decode_clip(tmp_path / "turned.mov", DecodeOptions(1, 32, resize=Resize.CLIP))
    assert (clip.source.width, clip.source.height) == (48, 64)
