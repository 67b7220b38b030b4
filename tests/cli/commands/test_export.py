"""`fda export` as it is typed: what it prints, what it refuses, and real clips in the end."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from store.features import read_features
from store.store import Store
from tests.clips_on_disk import SERIAL_FLAGS, Commands, write_mixed_dataset
from tests.encoders_tiny import write_config
from tests.pipeline.exporting.made import make


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(make(tmp_path_factory.mktemp("exported") / "store").place)


def test_a_table_for_people_and_json_for_programs(place: Path, tmp_path: Path, fda: Commands) -> None:
    ended = fda("export", place, tmp_path / "out", "--format", "npz", "--features", "mine", "--split", "train")
    assert ended.code == 0, ended.err
    assert "npz, features mine\n" in ended.out
    assert "train" in ended.out
    assert f": {tmp_path / 'out'}" in ended.err
    ended = fda("export", place, tmp_path / "more", "--format", "parquet", "--json")
    result = json.loads(ended.out)
    assert result["splits"][0] == {"split": "train", "num_videos": 4, "num_videos_left_out": 1, "num_captions": 6}
    assert (result["format"], result["features"], result["dim"], result["num_files"]) == ("parquet", None, None, 4)
    assert "without vectors: --features mine would add them" in ended.err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("STORE", "out"), 2, "Missing option '--format'"),
        (("STORE", "s3://bucket/out", "--format", "parquet"), 2, "only a STORE can be at s3://"),
        (("STORE", "STORE/out", "--format", "parquet"), 2, "lies in STORE"),
        (("STORE", "out", "--format", "npz"), 2, "name a feature set with --features"),
        (("STORE", "out", "--format", "npz", "--features", "mine", "--images", "png"), 2, "it is for webdataset"),
        (("STORE", "out", "--format", "npz", "--features", "yours"), 1, "there: 'mine'"),
        (("STORE", "out", "--format", "webdataset", "--masks", "other"), 1, "there are 'default'"),
        (("STORE", "out", "--format", "parquet", "--split", "val"), 1, "it has 'train', 'test'"),
        (("NOWHERE", "out", "--format", "parquet"), 1, "no store at"),
        (("STORE", "full", "--format", "parquet", "--overwrite"), 1, "contains 'notes.txt'"),
    ],
)
def test_refusals(
    place: Path,
    tmp_path: Path,
    fda: Commands,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    code: int,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full/notes.txt").write_text("mine")
    ended = fda("export", *(one.replace("STORE", str(place)) for one in arguments))
    assert (ended.code, ended.out) == (code, "")
    assert message in ended.err
    assert [path.name for path in tmp_path.iterdir()] == ["full"]
    assert (tmp_path / "full/notes.txt").read_text() == "mine"


def test_real_clips_with_failed_videos(tmp_path: Path, fda: Commands) -> None:
    store = tmp_path / "store"
    fda("preprocess", write_mixed_dataset(tmp_path), store, *SERIAL_FLAGS)
    model = ("--model", write_config(tmp_path), "--pretrained", "none")
    assert fda("encode", store, "--features", "mine", "--precision", "fp32", *model).code == 0
    for name, flags in (
        ("parquet", ("--features", "mine")),
        ("video-features", ("--features", "mine")),
        ("webdataset", ()),
    ):
        ended = fda("export", store, tmp_path / name, "--format", name, *flags, "--json")
        assert ended.code == 0, ended.err
        assert {one["split"]: one["num_videos_left_out"] for one in json.loads(ended.out)["splits"]} == {
            "train": 0,
            "test": 3,
        }
    videos = pq.read_table(tmp_path / "parquet/videos.parquet")
    assert videos["video_id"].to_pylist() == ["train_0", "train_1", "test_0", "-x_é"]
    assert all(0 < one < 1 for one in videos["mask_coverage"].to_pylist())
    assert np.load(tmp_path / "video-features/test/-x_é_fps.npy") == videos["fps"][3].as_py() > 0

    # What the encoder gave comes back bit for bit.
    tables = tmp_path / "parquet"
    imported = ("--text", tables / "captions.parquet", "--video", tables / "videos.parquet")
    assert fda("import-features", store, "--features", "back", *imported).code == 0
    before, after = (read_features(Store.open(store), name, "test") for name in ("mine", "back"))
    np.testing.assert_array_equal(after.video, before.video, strict=True)
    np.testing.assert_array_equal(after.text, before.text, strict=True)
