"""Damaged files end in a clip or in a `VideoError`, in time, and leave nothing open."""

from __future__ import annotations

import time
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


def _num_open() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize("name", KINDS)
def test_damaged_files_give_a_clip_or_a_video_error(tmp_path: Path, name: str) -> None:
    if ZOO[name].missing_encoder:
        pytest.skip(f"this build of ffmpeg has no encoder {ZOO[name].encoder}")
    content = ZOO[name].make(tmp_path / name).read_bytes()
    decode_clip(tmp_path / name, OPTIONS)  # what libraries open once, they keep
    open_files = _num_open()
    refused = 0
    for mutation in MUTATIONS:
        for number in range(6):
            damaged = mutant(content, mutation, f"{name} {number}")
            path = tmp_path / f"{mutation}.{number}.{name}"
            path.write_bytes(damaged)
            start = time.monotonic()
            try:
                check_sane(decode_clip(path, OPTIONS), OPTIONS)
            except VideoError:
                refused += 1
            assert time.monotonic() - start < OPTIONS.timeout_seconds + 5
    assert refused  # or nothing was damaged
    assert _num_open() == open_files
