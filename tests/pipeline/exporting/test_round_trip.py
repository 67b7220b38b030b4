"""`fda import-features` takes back what `fda export` wrote, bit for bit, for every layout that both know."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

import fda
from store.features import read_features, read_frame_features
from store.store import Store
from tests.pipeline.exporting.made import FEATURES

LAYOUTS: Mapping[str, Mapping[str, str]] = {
    "parquet": {"text": "captions.parquet", "video": "videos.parquet"},
    "clip-retrieval": {"text": ".", "video": "."},
    "npz": {"text": "test/text.npz", "video": "test/video.npz", "frame": "test/frame.npz"},
}


@pytest.fixture
def copied(store: Store, tmp_path: Path) -> Store:
    return Store.open(shutil.copytree(store.place, tmp_path / "copy"))


@pytest.mark.parametrize("name", LAYOUTS)
def test_vectors_come_back_bit_for_bit(copied: Store, tmp_path: Path, name: str) -> None:
    options = fda.ExportOptions(fda.ExportFormat(name), features=FEATURES, splits=("test",), videos_per_file=None)
    fda.export(copied.place, tmp_path / "out", options)
    sources = {part: tmp_path / "out" / file for part, file in LAYOUTS[name].items()}
    ids = {}
    if name == "clip-retrieval":  # which has no row of a video without a caption
        known = read_features(copied, FEATURES, "test")
        ids = {one: row for row, one in enumerate(known.video_ids) if one != "no captions"}
    fda.import_features(copied.place, fda.ImportOptions("back", splits=("test",), **sources))  # type: ignore[arg-type]
    before, after = (read_features(copied, features, "test") for features in (FEATURES, "back"))
    rows = list(ids.values()) or slice(None)
    np.testing.assert_array_equal(after.video, before.video[rows], strict=True)
    np.testing.assert_array_equal(after.text, before.text, strict=True)
    if "frame" in sources:
        frames = [read_frame_features(copied, features, "test") for features in (FEATURES, "back")]
        assert frames[0][0] == frames[1][0]
        np.testing.assert_array_equal(frames[1][1], frames[0][1], strict=True)


def test_frames_of_clip_video_encode_come_back_by_ids_that_no_file_may_have(copied: Store, tmp_path: Path) -> None:
    for name in (fda.ExportFormat.CLIP_VIDEO_ENCODE, fda.ExportFormat.NPZ):
        fda.export(copied.place, tmp_path / name, fda.ExportOptions(name, features=FEATURES))
    for split in ("train", "test"):
        text, video = (tmp_path / "npz" / split / f"{part}.npz" for part in ("text", "video"))
        frame = tmp_path / "clip-video-encode" / split
        fda.import_features(copied.place, fda.ImportOptions("back", text, video, frame, splits=(split,)))
        names = (FEATURES, "back")
        before, after = (read_frame_features(copied, features, split) for features in names)
        assert after[0] == before[0]
        np.testing.assert_array_equal(after[1], before[1], strict=True)
        one, other = (read_features(copied, features, split).video for features in names)
        np.testing.assert_array_equal(one, other, strict=True)
