"""Damaged files end in a clip or in a `VideoError`, and leave nothing open.

That they end in time is what `timeout_seconds` is tested for in test_zoo.py and test_opening.py.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest

from pipeline.video.clips import DecodeOptions, VideoError
from pipeline.video.decoding import decode_clip
from tests.fuzzing import MUTATIONS, check_sane, mutant
from tests.zoo.kinds import ZOO

OPTIONS = DecodeOptions(6, image_size=32, timeout_seconds=5)
KINDS = [
    "h264_gop12.mp4",
    "h264_fragmented.mp4",
    "h264_edit_start.mp4",
    "h264_gop12.mkv",
    "h264_gop12.ts",
    "h264_gop12.flv",
    "h264_b.avi",
    "h264_raw.h264",
    "hevc_open_gop.mp4",
    "hevc_temporal_layers.mp4",
    "mpeg4_b.avi",
    "mpeg4_packed.avi",
    "mpeg2_open_gop.mpg",
    "msmpeg4.asf",
    "vp8_hidden.webm",
    "vp9_alt_ref.webm",
    "av1.mp4",
    "disposal_background.gif",
    "plain.apng",
    "mjpeg.avi",
    "ffv1.mkv",
    "prores.mov",
]


def _open_below(folder: Path) -> list[str]:
    """The files of a folder that this process has open. Others open and close what is theirs at any moment."""
    links = Path("/proc/self/fd").iterdir()
    with suppress(FileNotFoundError):  # of a descriptor that is gone by now
        return [str(target) for link in links if (target := link.readlink()).is_relative_to(folder)]
    return _open_below(folder)


@pytest.mark.parametrize("name", KINDS)
def test_damaged_files_give_a_clip_or_a_video_error(tmp_path: Path, name: str) -> None:
    if ZOO[name].missing_encoder:
        pytest.skip(f"this build of ffmpeg has no encoder {ZOO[name].encoder}")
    content = ZOO[name].make(tmp_path / name).read_bytes()
    refused = 0
    for mutation in MUTATIONS:
        for number in range(6):
            damaged = mutant(content, mutation, f"{name} {number}")
            path = tmp_path / f"{mutation}.{number}.{name}"
            path.write_bytes(damaged)
            try:
                check_sane(decode_clip(path, OPTIONS), OPTIONS)
            except VideoError:
                refused += 1
    assert refused  # or nothing was damaged
    assert _open_below(tmp_path) == []


def test_an_open_file_is_seen(tmp_path: Path) -> None:
    with (tmp_path / "a").open("w"):
        assert _open_below(tmp_path) == [str(tmp_path / "a")]
