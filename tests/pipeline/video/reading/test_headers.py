"""What containers cut off pictures (`clap`, PixelCrop), and still pictures in the container of videos."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from pipeline.video.clips import VideoError
from pipeline.video.decoding import decode_clip
from pipeline.video.options import DecodeOptions, Resize
from pipeline.video.reading.display import Crop, Display
from pipeline.video.reading.headers import crop_of_matroska, crop_of_track, is_still_picture
from pipeline.video.resizing import resize_and_crop
from store.schema import VideoStatus
from tests.videos import Encoding, cut, decode_all, remux, textured_frames, write_video

HEIGHT, WIDTH = 48, 64
OPTIONS = DecodeOptions(5, 16, resize=Resize.CLIP)

Clap = tuple[int, int, int, int, int, int, int, int]
"""Width, height, offset to the right and down, each a fraction."""
CLAPS: dict[str, tuple[Clap, Crop | None]] = {
    "whole": ((64, 1, 48, 1, 0, 1, 0, 1), None),
    "centred": ((40, 1, 30, 1, 0, 1, 0, 1), Crop((48, 64), (9, 39), (12, 52))),
    "moved": ((40, 1, 30, 1, -5, 1, 7, 1), Crop((48, 64), (16, 46), (7, 47))),
    "top left": ((60, 1, 40, 1, -2, 1, -4, 1), Crop((48, 64), (0, 40), (0, 60))),
    "odd": ((41, 1, 31, 1, 1, 2, -1, 2), Crop((48, 64), (8, 39), (12, 53))),
    "fractions": ((123, 3, 90, 3, 3, 2, 5, 2), Crop((48, 64), (11, 41), (13, 54))),
    "outside": ((40, 1, 30, 1, 20, 1, 0, 1), None),
    "too large": ((70, 1, 48, 1, 0, 1, 0, 1), None),
    "negative": ((-40, 1, 30, 1, 0, 1, 0, 1), None),
    "over zero": ((40, 0, 30, 1, 0, 1, 0, 1), None),
    "huge": ((2**31 - 1, 1, 2**31 - 1, 1, -(2**31), 1, 2**31 - 1, 1), None),
}


def with_clap(content: bytes, clap: Clap) -> bytes:
    """An mp4, its index last, whose first sample entry has a `clap`: the boxes around it grow."""
    changed = bytearray(content)
    box = struct.pack(">I4s8i", 40, b"clap", *clap)
    entry = changed.index(b"stsd") + 12
    size = int.from_bytes(changed[entry : entry + 4], "big")
    changed[entry + size : entry + size] = box
    starts = [entry] + [changed.index(kind) - 4 for kind in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd")]
    for start in starts:
        changed[start : start + 4] = (int.from_bytes(changed[start : start + 4], "big") + len(box)).to_bytes(4, "big")
    return bytes(changed)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plain")
    return write_video(folder / "plain.mp4", textured_frames(10, height=HEIGHT, width=WIDTH), Encoding(codec="mpeg4"))


@pytest.fixture(scope="module")
def both(plain: Path) -> tuple[bytes, bytes]:
    """An mp4 and a Matroska file with a crop."""
    path = clapped(plain, plain.with_name("clap.mp4"), CLAPS["moved"][0])
    return path.read_bytes(), remux(path, plain.with_name("crop.mkv")).read_bytes()


def clapped(plain: Path, path: Path, clap: Clap) -> Path:
    path.write_bytes(with_clap(plain.read_bytes(), clap))
    return path


def crop_by_ffmpeg(path: Path) -> dict[str, int]:
    """What ffmpeg has read, of each edge in the order of `_EDGES`: it writes it to the header of a Matroska file."""
    header = io.BytesIO()
    with av.open(str(path)) as container, av.open(header, "w", format="matroska") as copy:
        copy.add_stream_from_template(container.streams.video[0], opaque=True)
        copy.start_encoding()
        content = header.getvalue()
    places = {edge: content.find(bytes.fromhex(edge)) for edge in _EDGES}
    return {edge: content[place + 3] for edge, place in places.items() if place >= 0}  # a size of one byte before it


_EDGES = ("54bb", "54aa", "54cc", "54dd")
"""PixelCropTop, PixelCropBottom, PixelCropLeft, PixelCropRight."""


def edges(crop: Crop | None) -> dict[str, int]:
    if crop is None:
        return {}
    (top, bottom), (left, right), (height, width) = crop.rows, crop.columns, crop.stored
    cuts = zip(_EDGES, (top, height - bottom, left, width - right), strict=True)
    return {edge: number for edge, number in cuts if number}


def expected(path: Path, crop: Crop | None, index: NDArray[np.int64], turns: int = 0) -> NDArray[np.uint8]:
    _, pictures = decode_all(path)
    rows, columns = ((0, HEIGHT), (0, WIDTH)) if crop is None else (crop.rows, crop.columns)
    shown = [pictures[place][slice(*rows), slice(*columns)] for place in index]
    return np.stack([resize_and_crop(np.rot90(one, turns).copy(), 16) for one in shown])


@pytest.mark.parametrize("name", CLAPS)
def test_a_clean_aperture_is_what_is_shown(tmp_path: Path, plain: Path, name: str) -> None:
    clap, crop = CLAPS[name]
    path = clapped(plain, tmp_path / "clap.mp4", clap)
    assert crop_of_track(path, 1) == crop
    assert edges(crop) == crop_by_ffmpeg(path)
    clip = decode_clip(path, OPTIONS)
    np.testing.assert_array_equal(clip.sample.frames, expected(path, crop, clip.sample.frame_index))
    height, width = (HEIGHT, WIDTH) if crop is None else Display(crop=crop).shape_of(HEIGHT, WIDTH)
    assert (clip.source.height, clip.source.width) == (height, width)


@pytest.mark.parametrize("name", CLAPS)
def test_a_matroska_crop_is_what_is_shown(tmp_path: Path, plain: Path, name: str) -> None:
    clap, crop = CLAPS[name]
    path = remux(clapped(plain, tmp_path / "clap.mp4", clap), tmp_path / "crop.mkv")
    assert crop_of_matroska(path, 0) == crop
    sample = decode_clip(path, OPTIONS).sample
    np.testing.assert_array_equal(sample.frames, expected(path, crop, sample.frame_index))


def test_another_track_has_no_part_in_it(tmp_path: Path, both: tuple[bytes, bytes]) -> None:
    for name, content in zip(("a.mp4", "a.mkv"), both, strict=True):
        (tmp_path / name).write_bytes(content)
    assert crop_of_track(tmp_path / "a.mp4", 2) is None
    assert crop_of_matroska(tmp_path / "a.mkv", 1) is None


def test_swscale_gives_nearly_the_same(tmp_path: Path, plain: Path) -> None:
    path = clapped(plain, tmp_path / "clap.mp4", CLAPS["moved"][0])
    exact, nearly = (decode_clip(path, DecodeOptions(5, 16, resize=resize)).sample.frames for resize in Resize)
    assert np.abs(exact.astype(int) - nearly).mean() < 6


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_a_cut_comes_before_a_turn(tmp_path: Path, rotation: int) -> None:
    frames = textured_frames(10, height=HEIGHT, width=WIDTH)
    turned = write_video(tmp_path / "turned.mp4", frames, Encoding(codec="mpeg4", rotation=rotation))
    clap, crop = CLAPS["moved"]
    path = clapped(turned, tmp_path / "clap.mp4", clap)
    clip = decode_clip(path, OPTIONS)
    assert (clip.source.height, clip.source.width) == ((30, 40) if rotation == 180 else (40, 30))
    right = expected(path, crop, clip.sample.frame_index, rotation // 90)
    np.testing.assert_array_equal(clip.sample.frames, right)


def test_a_picture_of_another_size_than_declared_is_shown_whole() -> None:
    display = Display(crop=Crop((1088, 1920), (0, 1080), (0, 1920)))
    assert display.crop_of(1088, 1920) is display.crop
    assert display.crop_of(1080, 1920) is None
    assert display.shape_of(1080, 1920) == display.shape_of(1088, 1920) == (1080, 1920)


@pytest.mark.parametrize("rows", [(0, 0), (5, 4), (-1, 4), (0, 49)])
def test_a_crop_lies_inside_its_picture(rows: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="lies inside it"):
        Crop((48, 64), rows, (0, 64))


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.data())
def test_any_bytes_give_a_crop_or_none(tmp_path: Path, both: tuple[bytes, bytes], data: st.DataObject) -> None:
    """Headers from anybody: bytes changed in the boxes around the crop, and files cut inside them."""
    mp4, mkv = both
    for content, start in ((mp4, mp4.index(b"moov") - 4), (mkv, 0)):
        end = min(len(content), start + 900)
        changed = bytearray(content)
        for place, value in data.draw(
            st.lists(st.tuples(st.integers(start, end - 1), st.sampled_from([0, 1, 8, 127, 128, 255])), max_size=6)
        ):
            changed[place] = value
        path = tmp_path / "changed"
        path.write_bytes(changed[: data.draw(st.integers(start, len(content)))])
        for crop in (crop_of_track(path, 1), crop_of_matroska(path, 0)):
            assert crop is None or isinstance(crop, Crop)
        assert is_still_picture(path) in (True, False)


@pytest.mark.parametrize(("num_boxes", "is_found"), [(1_000, True), (30_000, False)])
def test_no_more_than_so_many_boxes_are_looked_at(tmp_path: Path, plain: Path, num_boxes: int, is_found: bool) -> None:
    content = bytearray(with_clap(plain.read_bytes(), CLAPS["moved"][0]))
    start = content.index(b"moov") - 4
    size = int.from_bytes(content[start : start + 4], "big") + 8 * num_boxes
    content[start : start + 8] = struct.pack(">I4s", size, b"moov") + struct.pack(">I4s", 8, b"free") * num_boxes
    (tmp_path / "many.mp4").write_bytes(content)
    assert (crop_of_track(tmp_path / "many.mp4", 1) is not None) == is_found


def _still(path: Path) -> Path:
    Image.fromarray(textured_frames(1)[0]).save(path)
    return path


def _heic(path: Path) -> Path:
    """The first boxes of a phone's picture, and nothing else: nothing here encodes HEIC."""
    handler = struct.pack(">I4sIII12xB", 33, b"hdlr", 0, 0, int.from_bytes(b"pict", "big"), 0)
    meta = struct.pack(">I4sI", 12 + len(handler), b"meta", 0) + handler
    brands = struct.pack(">I4s4sI4s4s", 24, b"ftyp", b"heic", 0, b"mif1", b"heic")
    path.write_bytes(brands + meta + struct.pack(">I4s", 8, b"mdat"))
    return path


@pytest.mark.parametrize("make", [_still, _heic, lambda path: cut(_still(path), path, keep=0.9)])
def test_a_still_picture_is_no_video(tmp_path: Path, make: object) -> None:
    assert callable(make)
    with pytest.raises(VideoError, match="still picture") as caught:
        decode_clip(make(tmp_path / "still.avif"), OPTIONS)
    assert caught.value.status == VideoStatus.NO_VIDEO_STREAM


def test_a_sequence_of_pictures_and_a_video_without_index_are_cut_off(tmp_path: Path, plain: Path) -> None:
    pictures = [Image.fromarray(frame) for frame in textured_frames(5)]
    whole = tmp_path / "whole.avif"
    pictures[0].save(whole, save_all=True, append_images=pictures[1:], duration=40)
    sequence = tmp_path / "cut.avif"
    sequence.write_bytes(whole.read_bytes()[: whole.read_bytes().index(b"moov") + 20])
    for path in (sequence, cut(plain, tmp_path / "cut.mp4", keep=0.5)):
        with pytest.raises(VideoError, match="index") as caught:
            decode_clip(path, OPTIONS)
        assert caught.value.status == VideoStatus.TRUNCATED
