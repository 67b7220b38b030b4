from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import zarr

import store.features
from store.commits import CommitRecord
from store.completion import input_digests, outcomes_of
from store.errors import NotInStoreError, ShardIncompleteError, StoreMismatchError
from store.features import (
    ClipFeatures,
    TextFeatures,
    caption_shards,
    create_features,
    feature_names,
    feature_set_files,
    read_features,
    write_clip_features,
    write_text_features,
)
from store.own_files import remove_own
from store.places.local import LocalFolder
from store.schema import Shard
from store.stages import FRAMES_STAGE, features_stage, masks_stage
from store.store import Store
from tests.stores import MASKS, committed, fill_shard, fill_store, make_store, tree_digest

DIM = 5


@pytest.fixture(autouse=True)
def _small_caption_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("store.feature_arrays.CAPTIONS_PER_SHARD", 5)


def unit_rows(num_rows: int, seed: int) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(num_rows, DIM)).astype(np.float32)
    unit: np.ndarray = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit


def encode_clips(made: Store, name: str, shard: Shard) -> None:
    outcomes = outcomes_of(made, shard, masks_stage(MASKS))
    video = unit_rows(shard.num_rows, shard.index)
    video[[not outcome.filled for outcome in outcomes]] = np.nan
    frame = np.repeat(video[:, None], 3, axis=1) * 2
    inputs = input_digests(made, shard, (FRAMES_STAGE, masks_stage(MASKS)))
    write_clip_features(made, name, shard, ClipFeatures(video, frame, outcomes), inputs)


def encode_all(made: Store, name: str) -> None:
    create_features(made, name, "test", DIM, {"weights": "abc"})
    for shard in made.shards("test"):
        encode_clips(made, name, shard)
    for shard in caption_shards(made, "test"):
        write_text_features(made, name, shard, TextFeatures(unit_rows(shard.num_rows, 100 + shard.index)))


def test_features_come_back_with_the_ids_of_their_rows(tmp_path: Path) -> None:
    made = make_store(tmp_path, 6)
    fill_store(made, failed=frozenset({2}))
    encode_all(made, "mine")
    features = read_features(made, "mine", "test")
    assert features.video_ids == tuple(f"-vidéo_{row}" for row in (0, 1, 3, 4, 5))
    assert features.num_videos_expected == 6
    assert len(features.caption_ids) == 10
    assert features.num_captions_expected == 12
    np.testing.assert_array_equal(features.truth, np.repeat(np.arange(5), 2))
    for caption_id, index in zip(features.caption_ids, features.truth, strict=True):
        assert caption_id.startswith(f"{features.video_ids[index]}#")
    np.testing.assert_array_equal(features.video[2], unit_rows(4, 0)[3])
    np.testing.assert_array_equal(features.text[4], unit_rows(5, 101)[1])
    assert features.attributes == {"weights": "abc"}
    assert feature_names(made, "test") == ("mine",)


def test_the_arrays_open_without_fda(tmp_path: Path) -> None:
    made = make_store(tmp_path, 6)
    fill_store(made, failed=frozenset({2}))
    encode_all(made, "mine")
    group = zarr.open_group(tmp_path / "features.zarr/mine/test", mode="r")
    assert {name: array.shape for name, array in group.arrays()} == {
        "video": (6, DIM),
        "frame": (6, 3, DIM),
        "text": (12, DIM),
        "alpha_cosine": (6,),
        "num_dropped": (12,),
    }
    video = np.asarray(zarr.open_array(tmp_path / "features.zarr/mine/test/video", mode="r")[:])
    assert np.isnan(video).any(axis=1).tolist() == [False, False, True, False, False, False]


def test_features_that_are_not_there_say_which_are(tmp_path: Path) -> None:
    made = make_store(tmp_path, 2)
    fill_store(made)
    encode_all(made, "mine")
    with pytest.raises(NotInStoreError, match=r"no features 'yours' for split 'test' .*there: 'mine'"):
        read_features(made, "yours", "test")


def test_features_that_are_not_complete_are_not_read(tmp_path: Path) -> None:
    made = make_store(tmp_path, 6)
    fill_store(made)
    create_features(made, "mine", "test", DIM, {})
    encode_clips(made, "mine", made.shards("test")[0])
    with pytest.raises(
        ShardIncompleteError, match=r"2 of 6 videos of split 'test' .* are not encoded yet \(first shard: test/00001"
    ):
        read_features(made, "mine", "test")
    encode_clips(made, "mine", made.shards("test")[1])
    with pytest.raises(ShardIncompleteError, match="12 of 12 captions of .* are not encoded yet"):
        read_features(made, "mine", "test")


def test_features_of_frames_that_have_changed_are_not_read(tmp_path: Path) -> None:
    made = make_store(tmp_path, 6)
    fill_store(made)
    encode_all(made, "mine")
    fill_shard(made, made.shards("test")[1], failed=frozenset({5}))
    with pytest.raises(ShardIncompleteError, match="2 of 6 videos of .* are out of date"):
        read_features(made, "mine", "test")


@pytest.mark.parametrize("part", ["video", "text"])
def test_features_that_are_rebuilt_while_they_are_read_are_not_mixed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    made = make_store(tmp_path, 6)
    fill_store(made)
    encode_all(made, "mine")
    first = read_features(made, "mine", "test")
    filled = store.features._filled

    def rebuild(records: Sequence[CommitRecord]) -> dict[int, str]:
        """Called between the reading of the records and the reading of the arrays."""
        monkeypatch.setattr(store.features, "_filled", filled)
        shard = made.shards("test")[0] if part == "video" else caption_shards(made, "test")[0]
        rows = unit_rows(shard.num_rows, 99)
        if part == "video":
            inputs = input_digests(made, shard, [FRAMES_STAGE, masks_stage(MASKS)])
            write_clip_features(
                made,
                "mine",
                shard,
                ClipFeatures(rows, np.repeat(rows[:, None], 3, axis=1), outcomes_of(made, shard)),
                inputs,
            )
        else:
            write_text_features(made, "mine", shard, TextFeatures(rows))
        return filled(records)

    monkeypatch.setattr(store.features, "_filled", rebuild)
    with pytest.raises(ShardIncompleteError, match="rebuilt while they were read: run the same command again"):
        read_features(made, "mine", "test")
    again = read_features(made, "mine", "test")
    assert not np.array_equal(getattr(again, part), getattr(first, part))


def test_features_made_otherwise_are_not_mixed_with(tmp_path: Path) -> None:
    made = make_store(tmp_path, 2)
    fill_store(made)
    encode_all(made, "mine")
    with pytest.raises(StoreMismatchError, match='weights is "abc" in the store and "xyz" now'):
        create_features(made, "mine", "test", DIM, {"weights": "xyz"})


def test_removing_features_leaves_the_others(tmp_path: Path) -> None:
    made = make_store(tmp_path, 2)
    fill_store(made)
    encode_all(made, "mine")
    encode_all(made, "yours")
    for _ in range(2):
        remove_own(made.folder, feature_set_files(made.folder, "mine", "test"))
    assert feature_names(made, "test") == ("yours",)
    assert read_features(made, "yours", "test").video.shape == (2, DIM)
    assert not (tmp_path / "commits/test/features/mine").exists()


@pytest.mark.parametrize(("name", "split"), [("", "test"), ("..", "test"), ("mine", "../.."), ("mine", "")])
def test_removing_features_never_leaves_their_folder(tmp_path: Path, name: str, split: str) -> None:
    made = make_store(tmp_path, 2)
    fill_store(made)
    encode_all(made, "mine")
    before = tree_digest(tmp_path)
    with pytest.raises((ValueError, NotInStoreError)):
        feature_set_files(made.folder, name, split)
    assert tree_digest(tmp_path) == before


def test_features_that_were_being_made_again_when_the_run_was_killed_are_pending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_store(tmp_path, 2)
    fill_store(made)
    encode_all(made, "mine")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(LocalFolder, "write_in_order", killed)
    clips, captions = made.shards("test")[0], caption_shards(made, "test")[0]
    with pytest.raises(KeyboardInterrupt):
        encode_clips(made, "mine", clips)
    with pytest.raises(KeyboardInterrupt):
        write_text_features(made, "mine", captions, TextFeatures(unit_rows(captions.num_rows, 7)))
    assert committed(made, clips, features_stage("mine", "video")) is None
    assert committed(made, captions, features_stage("mine", "text")) is None
