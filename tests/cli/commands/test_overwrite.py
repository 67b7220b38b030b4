"""`--overwrite` on the command line: what goes is printed first, and feature sets go only with `--yes`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from store.completion import input_digests
from store.features import ClipFeatures, create_features, write_clip_features
from store.stages import FRAMES_STAGE, masks_stage
from store.store import Store
from tests.clips_on_disk import SMALL_FLAGS, Commands, write_small_dataset
from tests.store.foreign import PUT, everything, make_outside

FLAGS = (*SMALL_FLAGS, "--workers", "0")
NOTES = ("thesis.tex", "checkpoint/model.safetensors", "clips.zarr/notes", "features.zarr/notes", "runs/notes.json")


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    return write_small_dataset(tmp_path / "data", {"test": 2})


@pytest.fixture
def place(fda: Commands, manifest: Path, tmp_path: Path) -> Path:
    """A store with features of its masks, and its user's notes all over it."""
    place = tmp_path / "store"
    assert fda("preprocess", manifest, place, *FLAGS).code == 0
    store = Store.open(place)
    create_features(store, "mine", "test", 2, {})
    for shard in store.shards("test"):
        rows = ClipFeatures(np.ones((shard.num_rows, 2), np.float32), np.ones((shard.num_rows, 3, 2), np.float32), ())
        inputs = input_digests(store, shard, [FRAMES_STAGE, masks_stage("default")])
        write_clip_features(store, "mine", shard, rows, inputs)
    for name in NOTES:
        (place / name).parent.mkdir(exist_ok=True)
        (place / name).write_text("years of work")
    return place


def test_a_store_is_started_over_around_what_is_not_its_own(
    fda: Commands, manifest: Path, place: Path, tmp_path: Path
) -> None:
    outside = make_outside(tmp_path / "home")
    for kind in ("link to a folder", "FIFO", "dangling link"):
        PUT[kind](place / kind, outside)
    before = everything(place)
    refused = fda("preprocess", manifest, place, *FLAGS, "--overwrite")
    assert refused.code == 1
    assert "--overwrite would remove frames of 'test'; masks 'default'; features 'mine'; the cata" in refused.error_line
    assert "give --yes as well" in refused.error_line
    assert {name: what for name, what in everything(place).items() if name in before} == before
    done = fda("preprocess", manifest, place, *FLAGS, "--shard-size", "4", "--overwrite", "--yes")
    assert done.code == 0
    assert "--overwrite removes frames of 'test'; masks 'default'; features 'mine'; the catalogue" in done.err
    after = everything(place)
    foreign = (*NOTES, "link to a folder", "FIFO", "dangling link")
    assert {name: after.get(name) for name in foreign} == {name: before[name] for name in foreign}
    found = json.loads(fda("verify", place, "--json").out)
    assert (found["num_wrong"], found["counts"]) == (0, {"foreign file": len(foreign)})
    assert not [name for name in after if "/mine/" in name]


def test_masks_that_features_were_made_from(fda: Commands, place: Path) -> None:
    command = ("masks", place, "--masks", "default", "--threshold", "9", "--overwrite", "--workers", "0")
    refused = fda(*command)
    assert (refused.code, "from which features 'mine' were made" in refused.error_line) == (1, True)
    done = fda(*command, "--yes", "--json")
    assert done.code == 0
    assert "--overwrite removes masks 'default' (" in done.err
    assert json.loads(done.out)["warnings"] == [
        "features 'mine': made from masks 'default', so out of date unless the new masks are the same"
    ]


def test_removing_masks_names_the_features_that_die_with_them(fda: Commands, place: Path) -> None:
    asked = fda("remove", place, "--masks", "default")
    assert "Features 'mine', which were made from these masks, would be out of date" in asked.out
    both = fda("remove", place, "--masks", "default", "--features", "mine", "--json")
    assert json.loads(both.out)["features_out_of_date"] == []
    done = json.loads(fda("remove", place, "--masks", "default", "--json", "--yes").out)
    assert done["features_out_of_date"] == ["mine"]


def test_yes_alone_is_a_mistake(fda: Commands, manifest: Path, place: Path) -> None:
    ended = fda("preprocess", manifest, place, *FLAGS, "--yes")
    assert (ended.code, "--yes is for --overwrite" in ended.err) == (2, True)


@pytest.mark.parametrize("content", ['{"name": "my shop"}', "", "[]"])
def test_another_program_s_store_json_vouches_for_nothing(
    fda: Commands, manifest: Path, tmp_path: Path, content: str
) -> None:
    place = tmp_path / "shop"
    (place / "catalog").mkdir(parents=True)
    (place / "store.json").write_text(content)
    (place / "catalog/videos.parquet").write_text("mine")
    before = everything(place)
    ended = fda("preprocess", manifest, place, *FLAGS, "--overwrite", "--yes")
    assert (ended.code, "store.json is not the manifest of a store, so nothing here" in ended.error_line) == (1, True)
    assert everything(place) == before


def test_a_damaged_manifest_is_still_one(fda: Commands, manifest: Path, place: Path) -> None:
    content = bytearray((place / "store.json").read_bytes())
    content[20] ^= 1
    (place / "store.json").write_bytes(content)
    assert fda("preprocess", manifest, place, *FLAGS, "--overwrite", "--yes").code == 0
    assert json.loads(fda("verify", place, "--json").out)["num_wrong"] == 0
