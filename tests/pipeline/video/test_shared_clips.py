"""Real clips, which are not part of the project: every one decodes, to exactly the frames of a full decode."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from pipeline.video.decoding import decode_clip
from pipeline.video.options import DecodeOptions, Resize
from pipeline.video.resizing import resize_and_crop
from tests.paths import SHARED
from tests.videos import decode_all

FOLDER = Path(os.environ.get("FDA_TEST_CLIPS", SHARED / "clips"))
CLIPS = sorted(path for path in FOLDER.rglob("*") if path.suffix in {".avi", ".mkv", ".mp4", ".webm"})


@pytest.mark.needs_shared_clips
@pytest.mark.skipif(not CLIPS, reason=f"no clips in {FOLDER} (FDA_TEST_CLIPS names another folder)")
@pytest.mark.parametrize("path", CLIPS, ids=lambda path: path.stem)
def test_a_real_clip_gives_the_frames_of_a_full_decode(path: Path) -> None:
    clip = decode_clip(path, DecodeOptions(12, resize=Resize.CLIP))
    _, pictures = decode_all(path)
    index = clip.sample.frame_index
    assert clip.source.num_frames == len(pictures)
    assert not clip.truncated
    expected = [(2 * i + 1) * len(pictures) // 24 for i in range(12)]
    assert np.abs(index - np.array(expected)).max() <= 1  # nearly all of them have a constant rate
    assert bool(np.all(np.diff(clip.sample.pts_seconds) > 0))
    assert 0 <= clip.sample.pts_seconds[0] < clip.sample.pts_seconds[-1] < clip.source.duration_seconds
    shown = (clip.source.height, clip.source.width)
    expected_frames = np.stack([resize_and_crop(pictures[k], 224, shown) for k in index])
    np.testing.assert_array_equal(clip.sample.frames, expected_frames)
