"""What packets say of their pictures, against what the encoder meant and the decoder shows."""

from __future__ import annotations

from pathlib import Path

import av
import pytest
from av.video.frame import PictureType

from pipeline.video.reading.bitstream import PLAIN, Picture, parser_of
from tests.videos import Encoding, textured_frames, write_video

X264 = {"bf": "3", "g": "12", "x264-params": "threads=1:lookahead-threads=1:log-level=none"}
X265 = {"x265-params": "keyint=12:bframes=3:log-level=none:pools=none:frame-threads=1"}
MADE = {
    "h264.mp4": ("libx264", X264),
    "h264.ts": ("libx264", X264),
    "hevc.mp4": ("libx265", X265),
    "hevc.ts": ("libx265", X265),
    "mpeg2.ts": ("mpeg2video", {"bf": "2", "g": "12"}),
    "mpeg1.mkv": ("mpeg1video", {"bf": "2", "g": "12"}),
    "mpeg4.mp4": ("mpeg4", {"bf": "2", "g": "12"}),
}


@pytest.mark.parametrize("name", MADE)
def test_starts_are_intra_and_what_nothing_refers_to_is_bidirectional(tmp_path: Path, name: str) -> None:
    codec, options = MADE[name]
    path = write_video(tmp_path / name, textured_frames(50), Encoding(codec=codec, options=options))
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        parse = parser_of(stream.codec_context.codec.canonical_name, stream.codec_context.extradata)
        assert parse is not None
        packets = [packet for packet in container.demux(stream) if packet.size]
        pictures = {packet.pts: parse(memoryview(packet), packet.is_keyframe) for packet in packets}
    with av.open(str(path)) as container:
        kinds = {frame.pts: frame.pict_type for frame in container.decode(video=0)}
    assert pictures.keys() == kinds.keys()
    parameters = {picture.parameters for picture in pictures.values()} - {b""}
    assert len(parameters) <= 1, "repeated, and the same"
    assert bool(parameters) == (name.endswith("ts") or codec in ("mpeg1video", "mpeg2video"))
    starts = {pts for pts, picture in pictures.items() if picture.is_start}
    left_out = {pts for pts, picture in pictures.items() if not picture.is_reference}
    assert len(starts) >= 4
    assert all(kinds[pts] == PictureType.I for pts in starts)
    assert len(left_out) >= 10, "some pictures are referred to by none"
    assert all(kinds[pts] == PictureType.B for pts in left_out)


def test_codecs_that_are_not_understood_are_not_skipped_in() -> None:
    for codec in ("theora", "wmv3", "rv40", "gif", "apng", "svq3", "cinepak"):
        assert parser_of(codec, None) is None


@pytest.mark.parametrize("codec", ["h264", "hevc", "mpeg2video", "mpeg4"])
@pytest.mark.parametrize("content", [b"\0", b"\0\0\1", b"\xff" * 50, b"\0\0\0\xff"])
def test_a_packet_without_a_picture_may_be_needed(codec: str, content: bytes) -> None:
    for extradata in (None, b"", b"\1", b"\1" * 10):  # too short to say how long a length is
        parse = parser_of(codec, extradata)
        assert parse is not None
        assert parse(content, True) == PLAIN


def test_a_packet_with_one_field_that_is_referred_to_is_kept() -> None:
    parse = parser_of("h264", None)
    assert parse is not None
    assert parse(b"\0\0\1\x41\x9a\0\0\1\x01\x9a", False) == PLAIN
    assert parse(b"\0\0\1\x01\x9a\0\0\1\x01\x9a", False) == Picture(is_start=False, is_reference=False)
    packed = parser_of("mpeg4", None)
    assert packed is not None
    assert packed(b"\0\0\1\xb6\x50\0\0\1\xb6\x90", False).is_reference  # a P picture, and a B picture behind it


def test_hidden_pictures_of_vp8_and_vp9() -> None:
    vp8, vp9 = parser_of("vp8", None), parser_of("vp9", None)
    assert vp8 is not None
    assert vp9 is not None
    assert vp8(bytes([0b10000]), True) == Picture(is_start=True, is_reference=True)
    assert not vp8(bytes([0b00001]), False).is_shown
    assert not vp9(bytes([0b10000100, 0]), False).is_shown
    assert vp9(bytes([0b10000100, 0, 0b11000000]), False).is_shown  # the index of a superframe
    assert vp9(bytes([0b10110001, 0]), False).is_shown  # profile 3: the bits lie one further
    assert not vp9(bytes([0b10110010, 0]), False).is_shown
