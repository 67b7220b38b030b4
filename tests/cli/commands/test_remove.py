"""`fda remove`: named one by one, only with --yes, and whole however often it is killed."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from pipeline.upkeep.removal import find_removal, remove
from store.failures import read_failures
from store.features import ClipFeatures, create_features, write_clip_features
from store.places.opening import folder_at
from store.store import Store
from tests.clips_on_disk import SMALL_FLAGS, Commands, write_small_dataset
from tests.stores import tree_digest

FLAGS = (*SMALL_FLAGS, "--workers", "0")


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    return write_small_dataset(tmp_path / "data", {"train": 2, "test": 3})


@pytest.fixture
def place(fda: Commands, manifest: Path, tmp_path: Path) -> Path:
    """A store with two mask sets, and a feature set of one split."""
    assert fda("preprocess", manifest, tmp_path / "store", *FLAGS).code == 0
    return tmp_path / "store"


def add_masks_and_features(fda: Commands, place: Path) -> None:
    assert fda("masks", place, "--masks", "low", "--threshold", "9", "--workers", "0").code == 0
    store = Store.open(place)
    create_features(store, "mine", "test", 4, {})
    for shard in store.shards("test"):
        write_clip_features(
            store,
            "mine",
            shard,
            ClipFeatures(np.ones((shard.num_rows, 4), np.float32), np.ones((shard.num_rows, 3, 4), np.float32), ()),
            {},
        )


def test_nothing_is_removed_without_yes_and_all_that_was_named_with_it(fda: Commands, place: Path) -> None:
    without = tree_digest(place)
    add_masks_and_features(fda, place)
    before = tree_digest(place)
    asked = fda("remove", place, "--masks", "low", "--features", "mine")
    assert asked.code == 0
    assert "this would remove masks 'low', features 'mine' (" in asked.out
    assert "--yes" in asked.out
    assert tree_digest(place) == before
    done = fda("remove", place, "--masks", "low", "--features", "mine", "--yes", "--json")
    assert json.loads(done.out)["removed"] is True
    assert json.loads(done.out)["num_files"] == len(before) - len(without) - 1
    left = tree_digest(place)
    del left["features.zarr/zarr.json"]  # the group of all feature sets
    assert left == without


def test_a_split_goes_with_all_it_has_and_can_come_back(fda: Commands, manifest: Path, place: Path) -> None:
    whole = tree_digest(place)
    assert fda("remove", place, "--split", "train", "--yes").code == 0
    assert list(Store.open(place).manifest.splits) == ["test"]
    assert not [name for name in tree_digest(place) if "/train/" in name]
    assert Store.open(place).catalog.splits == ("test",)
    last = fda("remove", place, "--split", "test", "--yes")
    assert (last.code, "has no other split" in last.err) == (1, True)
    assert fda("preprocess", manifest, place, *FLAGS).code == 0
    assert set(whole) == set(tree_digest(place))


def test_the_failures_of_a_split_go_with_it(fda: Commands, manifest: Path, tmp_path: Path) -> None:
    for name in ("train_0", "test_1"):
        (manifest.parent / f"videos/{name}.mp4").write_text("this is no video")
    place = tmp_path / "failing"
    assert fda("preprocess", manifest, place, *FLAGS, "--max-failed", "100%").code == 0
    assert [failed.video_id for failed in read_failures(folder_at(place))] == ["train_0", "test_1"]
    assert fda("remove", place, "--split", "train", "--yes").code == 0
    assert [failed.video_id for failed in read_failures(folder_at(place))] == ["test_1"]
    assert fda("verify", place).code == 0


def test_what_is_not_there_is_refused_by_name(fda: Commands, place: Path) -> None:
    before = tree_digest(place)
    for flag, kind in (("--masks", "masks"), ("--features", "features"), ("--split", "split")):
        for name in ("nothing", "..", "", "-x"):
            ended = fda("remove", place, flag, name, "--yes")
            assert ended.code == 1
            assert f"no {kind} {name!r} in" in ended.error_line
    assert fda("remove", place, "--yes").code == 2
    assert tree_digest(place) == before


@pytest.mark.parametrize("what", ["masks", "features", "split"])
def test_killed_at_any_removal_and_run_again(
    fda: Commands, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    class Killed(BaseException):
        pass

    add_masks_and_features(fda, place)
    names = {"masks": "low", "features": "mine", "split": "test"}
    chosen = {("splits" if what == "split" else what): [names[what]]}
    store = Store.open(place)
    removal = find_removal(store, **chosen)
    unlink, num_calls = os.unlink, 0

    def killed_now_and_then(path: str, *, dir_fd: int | None = None) -> None:
        nonlocal num_calls
        num_calls += 1
        if num_calls % 5 == 0:
            raise Killed
        unlink(path, dir_fd=dir_fd)

    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", killed_now_and_then)
        for _ in range(3 * removal.num_files):
            with suppress(Killed):
                store = Store.open(place)
                remove(store, find_removal(store, **chosen))
                break
        else:
            pytest.fail("it does not get on")
    left = [name for name in tree_digest(place) if f"/{names[what]}/" in name]
    assert left == []
    store.folder.remove_partial_files()
    Store.open(place)
