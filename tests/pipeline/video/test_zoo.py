"""The decoder against a plain sequential decode, on every kind of file of the zoo."""

from __future__ import annotations

import struct
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from pipeline.video.clips import VideoError
from pipeline.video.decoding import decode_clip
from pipeline.video.options import DecodeOptions
from pipeline.video.reading import probing
from store.schema import VideoStatus
from tests.paths import ROOT
from tests.seed import drawn
from tests.windows import check_windows, some_options, some_windows
from tests.zoo.kinds import CORE_ENCODERS, ZOO
from tests.zoo.making import with_streams
from tests.zoo.truth import FullDecode, decode_fully, expected_picture

SIZE = 64
COUNTS = (1, 3, 12, 40)
"""Frames asked for: few, so that a decoder must jump, and more than some files have."""

Seen = Callable[[str], tuple[Path, FullDecode]]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """A file of the zoo and its full decode, made when first asked for."""
    folder = tmp_path_factory.mktemp("zoo")

    @cache
    def make(name: str) -> tuple[Path, FullDecode]:
        if ZOO[name].missing_encoder:
            pytest.skip(f"this build of ffmpeg has no encoder {ZOO[name].encoder}")
        path = ZOO[name].make(folder / name)
        return path, decode_fully(path)

    return make


def test_the_encoders_that_matter_are_there() -> None:
    missing = {kind.encoder for kind in ZOO.values() if kind.missing_encoder}
    assert not missing & CORE_ENCODERS


@pytest.mark.parametrize("name", ZOO)
def test_a_file_has_what_it_is_in_the_zoo_for(seen: Seen, name: str) -> None:
    _, whole = seen(name)
    assert ZOO[name].shows(whole)
    pictures = [expected_picture(frame, SIZE, whole.pixel_aspect) for frame in whole.frames]
    differ = [bool(np.any(before != after)) for before, after in pairwise(pictures)]
    assert sum(differ) >= 0.8 * len(differ)  # else a wrong frame could not be told from the right one


@pytest.mark.parametrize("num_frames", COUNTS)
@pytest.mark.parametrize("name", ZOO)
def test_clips_are_those_of_a_full_decode(seen: Seen, name: str, num_frames: int) -> None:
    path, whole = seen(name)
    expected = ZOO[name].truth(whole, num_frames)
    clip = decode_clip(path, DecodeOptions(num_frames, image_size=SIZE))
    assert clip.sample.frame_index.tolist() == expected.frame_index
    assert clip.sample.pts_seconds.tolist() == expected.pts_seconds
    assert clip.source.num_frames == len(whole.frames)
    pictures = {
        place: expected_picture(whole.frames[place], SIZE, whole.pixel_aspect) for place in set(expected.frame_index)
    }
    np.testing.assert_array_equal(clip.sample.frames, np.stack([pictures[place] for place in expected.frame_index]))
    assert not clip.truncated


NASTY = ["h264_vfr.mkv", "h264_edit_middle.mp4", "h264_raw.h264", "h264_times_restart.ts", "mpeg4_dropped.avi"]
SOME = sorted({*NASTY, *drawn("kinds of windows").sample(sorted(ZOO), 25)})


@pytest.mark.parametrize("name", SOME)
def test_windows_in_one_pass_are_those_of_each_alone(seen: Seen, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path, whole = seen(name)
    chance = drawn(f"windows of {name}")
    if chance.random() < 0.3:  # as for large files
        monkeypatch.setattr(probing, "BUFFERED_BYTES", 0)
        monkeypatch.setattr(probing, "JUMP_PACKETS", 3)
    check_windows(path, some_options(chance), some_windows(chance, len(whole.frames) / 25))


def _refusal(path: Path, **limits: float) -> VideoError:
    with pytest.raises(VideoError) as caught:
        decode_clip(path, DecodeOptions(4, image_size=32, **limits))  # type: ignore[arg-type]
    return caught.value


def test_a_picture_above_the_limit_is_refused(tmp_path: Path) -> None:
    for name in ("h264_gop12.mp4", "vp9.webm", "mjpeg.avi", "plain.gif", "ffv1.mkv"):
        path = ZOO[name].make(tmp_path / name)
        assert decode_clip(path, DecodeOptions(4, image_size=32, max_pixels=64 * 48)).source.width == 64
        assert _refusal(path, max_pixels=64 * 48 - 1).status == VideoStatus.UNSUPPORTED, name


MEMORY_OF_REFUSALS = """
import resource, sys
from pathlib import Path
from pipeline.video.clips import VideoError
from pipeline.video.decoding import decode_clip
from pipeline.video.options import DecodeOptions
whole, *claims = map(Path, sys.argv[1:])
decode_clip(whole, DecodeOptions(4, 32))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in claims:
    try:
        sys.exit(f"{path.name} gave a clip: {decode_clip(path, DecodeOptions(4, 32)).source}")
    except VideoError as error:
        assert error.status in ("unsupported", "corrupt"), error
kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
assert kib < 200 * 1024, kib
"""


def test_a_size_that_only_the_header_claims_takes_no_memory(tmp_path: Path) -> None:
    """Measured in a process of its own: a peak that an earlier test left behind would hide a lower one."""
    whole = ZOO["plain.gif"].make(tmp_path / "whole.gif")
    gif, jpegs = bytearray(whole.read_bytes()), bytearray(ZOO["mjpeg.avi"].make(tmp_path / "whole.avi").read_bytes())
    claims = []
    for side in (16384, 65535):
        gif[6:10] = struct.pack("<HH", side, side)
        place = -1
        while (place := jpegs.find(b"\xff\xc0", place + 1)) >= 0:
            jpegs[place + 5 : place + 9] = struct.pack(">HH", side, side)
        for name, content in ((f"{side}.gif", gif), (f"{side}.avi", jpegs)):
            (tmp_path / name).write_bytes(content)
            claims.append(str(tmp_path / name))
    command = [sys.executable, "-c", MEMORY_OF_REFUSALS, str(whole), *claims]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_large_canvas_again_and_again_ends_in_time(tmp_path: Path) -> None:
    """Every frame of a GIF is its whole canvas: a file of kilobytes can ask for gigabytes of copies."""
    content = bytearray(ZOO["plain.gif"].make(tmp_path / "whole.gif").read_bytes())
    content[6:10] = struct.pack("<HH", 8000, 8000)
    (tmp_path / "claim.gif").write_bytes(content)
    start = time.process_time()
    assert _refusal(tmp_path / "claim.gif", timeout_seconds=0.3).status == VideoStatus.TIMEOUT
    assert time.process_time() - start < 5


def test_a_video_of_too_many_packets_is_refused(tmp_path: Path) -> None:
    path = ZOO["h264_gop12.mp4"].make(tmp_path / "whole.mp4")
    assert decode_clip(path, DecodeOptions(4, image_size=32, max_packets=72)).source.num_frames == 72
    assert _refusal(path, max_packets=71).status == VideoStatus.UNSUPPORTED


@pytest.mark.parametrize("ext", ["mp4", "mov", "ts"])
def test_a_file_of_too_many_streams_is_refused(tmp_path: Path, ext: str) -> None:
    path = with_streams(5)(tmp_path / f"five.{ext}")
    assert decode_clip(path, DecodeOptions(4, image_size=32, max_streams=5)).source.num_frames == 8
    assert _refusal(path, max_streams=4).status == VideoStatus.UNSUPPORTED


@pytest.mark.parametrize(("box", "offset"), [(b"mvhd", 16), (b"mdhd", 16), (b"tkhd", 20)])
def test_a_length_that_only_the_header_claims_changes_nothing(tmp_path: Path, box: bytes, offset: int) -> None:
    path = ZOO["h264_gop12.mp4"].make(tmp_path / "whole.mp4")
    right = decode_clip(path, DecodeOptions(4, image_size=32))
    content = bytearray(path.read_bytes())
    place = content.index(box) + 4 + offset
    content[place : place + 4] = b"\xff\xff\xff\xfe"
    path.write_bytes(content)
    lied = decode_clip(path, DecodeOptions(4, image_size=32))
    assert lied.source == right.source
    np.testing.assert_array_equal(lied.sample.frames, right.sample.frames)
