"""Damaged files end in a clip or in a `VideoError`, in time, and leave nothing open."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.video.clips import VideoError
from pipeline.video.decoding import decode_clip
from pipeline.video.options import DecodeOptions
from tests.fuzzing import MUTATIONS, check_sane, mutant
from tests.paths import ROOT
from tests.videos import open_below
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


IN_A_FRESH_PROCESS = """
import os, sys
from pathlib import Path
from pipeline.video.clips import VideoError
from pipeline.video.decoding import decode_clip
from pipeline.video.options import DecodeOptions
whole, *damaged = map(Path, sys.argv[1:])
decode_clip(whole, DecodeOptions(6, 32))  # what libraries open once, they keep
before = sorted(os.listdir("/proc/self/fd"))
refused = 0
for path in damaged:
    try:
        decode_clip(path, DecodeOptions(6, 32))
    except VideoError:
        refused += 1
assert refused, "nothing was damaged"
assert sorted(os.listdir("/proc/self/fd")) == before
"""


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
            start = time.process_time()  # of this process alone: others may keep the machine busy
            try:
                check_sane(decode_clip(path, OPTIONS), OPTIONS)
            except VideoError:
                refused += 1
            assert time.process_time() - start < OPTIONS.timeout_seconds + 5
    assert refused  # or nothing was damaged
    assert open_below(tmp_path) == []


def test_a_process_has_nothing_more_open_than_before(tmp_path: Path) -> None:
    """Pipes, sockets and memory files as well; counted in a process in which no other test has run."""
    paths = [ZOO["h264_gop12.mp4"].make(tmp_path / "whole.mp4")]
    content = paths[0].read_bytes()
    for mutation in MUTATIONS:
        paths.append(tmp_path / f"{mutation}.mp4")
        paths[-1].write_bytes(mutant(content, mutation, "1"))
    command = [sys.executable, "-c", IN_A_FRESH_PROCESS, *map(str, paths)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
