"""`fda masks` as a user calls it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from store.clips.reader import ClipReader
from store.commits import commit_name
from store.completion import outcomes_of
from store.stages import masks_stage
from store.store import Store
from tests.clips_on_disk import SMALL_FLAGS, Commands, write_small_dataset
from tests.stores import tree_digest

MASK_FLAGS = ("--kernel-size", "3", "--min-area", "8")


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_dataset(tmp_path_factory.mktemp("small"), {"train": 2, "test": 3})


@pytest.fixture
def place(fda: Commands, manifest: Path, tmp_path: Path) -> Path:
    """A store of its own for each test: its frames are complete."""
    assert fda("preprocess", manifest, tmp_path / "store", *SMALL_FLAGS, "--workers", "0").code == 0
    return tmp_path / "store"


def masks(fda: Commands, place: Path, *flags: str) -> tuple[int, dict[str, object]]:
    ended = fda("masks", place, *MASK_FLAGS, "--workers", "0", "--json", *flags)
    return ended.code, json.loads(ended.out)


def test_another_mask_set_with_its_table_and_its_record(fda: Commands, place: Path) -> None:
    ended = fda("masks", place, "--masks", "low", *MASK_FLAGS, "--threshold", "10", "--workers", "0")
    assert ended.code == 0
    assert "5 videos in" in ended.err
    lines = [line.split() for line in ended.out.splitlines() if line.strip()]
    assert lines[0] == ["masks", "low"]
    assert [line[0] for line in lines[-2:]] == ["train", "test"]
    assert lines[-1][1:4] == ["3", "of", "3"]
    masked = ClipReader(Store.open(place), "test", "low").read_masks([0, 1, 2])
    assert lines[-1][4] == f"{100 * masked.mean():.1f}%"
    runs = sorted((place / "runs").glob("*-masks-*.json"))
    record = json.loads(runs[0].read_text())
    assert (record["command"], record["options"]["threshold"], record["options"]["name"]) == ("masks", 10.0, "low")
    again = fda("masks", place, "--masks", "low", *MASK_FLAGS, "--threshold", "10")
    assert again.err == "nothing to do: 3 shards, all complete\n"
    assert again.out == ended.out
    assert sorted((place / "runs").glob("*-masks-*.json")) == runs


def test_json_and_every_option(fda: Commands, place: Path) -> None:
    code, summary = masks(
        fda,
        place,
        *("--masks", "all", "--compensation", "similarity", "--threshold-mode", "noise", "--noise-sigmas", "5"),
        *("--noise-floor", "9", "--when-empty", "ones", "--when-full", "zeros", "--full-coverage", "0.8"),
    )
    assert code == 0
    assert (summary["num_shards_made"], summary["num_videos_made"], summary["workers"]) == (3, 5, 0)
    splits = summary["splits"]
    assert isinstance(splits, list)
    assert [split["split"] for split in splits] == ["train", "test"]
    assert all(split["num_unregistered_pairs"] >= 0 and 0 <= split["mean_coverage"] <= 1 for split in splits)
    attributes = json.loads((place / "clips.zarr/test/masks/all/zarr.json").read_text())["attributes"]
    assert attributes["options"] == {
        "threshold": 25.0,
        "kernel_size": 3,
        "min_area": 8,
        "difference": "sampled",
        "compensation": "similarity",
        "threshold_mode": "noise",
        "noise_sigmas": 5.0,
        "noise_floor": 9.0,
        "when_empty": "ones",
        "when_full": "zeros",
        "full_coverage": 0.8,
    }


def test_auto_says_what_it_picked(fda: Commands, place: Path) -> None:
    flags = ("--masks", "auto", "--difference", "auto", *MASK_FLAGS, "--workers", "0")
    ended = fda("masks", place, *flags)
    assert ended.code == 0
    header, *rows = [line for line in ended.out.splitlines() if line.strip() and "─" not in line][1:]
    assert header.split()[-1] == "picked"
    assert all(row.rstrip().endswith("%") for row in rows)
    _, summary = masks(fda, place, "--masks", "auto", "--difference", "auto")
    splits = summary["splits"]
    assert isinstance(splits, list)
    assert all(sum(split["picked_share"].values()) == pytest.approx(1) for split in splits)
    attributes = json.loads((place / "clips.zarr/test/masks/auto/zarr.json").read_text())["attributes"]
    assert {name: attributes["options"][name] for name in ("difference", "threshold", "fill", "cuts")} == {
        "difference": "auto",
        "threshold": 15.0,
        "fill": "hysteresis",
        "cuts": "difference",
    }
    store = Store.open(place)
    for name, picks in (("auto", True), ("default", False)):
        outcomes = outcomes_of(store, store.shards("test")[0], masks_stage(name))
        assert all((outcome.mask_difference is not None) is picks for outcome in outcomes)


def test_options_from_a_file_and_worker_processes(fda: Commands, place: Path, tmp_path: Path) -> None:
    config = tmp_path / "fda.toml"
    config.write_text('[masks]\nmasks = "filed"\nthreshold = 40\nkernel-size = 3\nmin-area = 8\n')
    assert fda("masks", place, "--config", config, "--workers", "1").code == 0
    alone = shutil.copytree(place, tmp_path / "alone")
    assert fda("masks", alone, "--config", config, "--overwrite", "--workers", "0").code == 0
    assert tree_digest(alone) == tree_digest(place)


def test_preprocess_takes_the_same_flags(fda: Commands, manifest: Path, place: Path, tmp_path: Path) -> None:
    flags = ("--when-empty", "ones", "--difference", "registered", "--fill", "both", "--cuts", "difference")
    assert fda("masks", place, "--masks", "x", *MASK_FLAGS, *flags, "--workers", "0").code == 0
    other = tmp_path / "other"
    assert fda("preprocess", manifest, other, *SMALL_FLAGS, *flags, "--masks", "x", "--workers", "0").code == 0
    mine, theirs = tree_digest(place), tree_digest(other)
    shared = [name for name in theirs if "/masks/x" in name]
    assert len(shared) > 5
    assert {name: mine[name] for name in shared} == {name: theirs[name] for name in shared}


def test_a_name_that_is_taken_is_refused_with_both_values(fda: Commands, place: Path) -> None:
    before = tree_digest(place)
    ended = fda("masks", place, "--masks", "default", *MASK_FLAGS, "--threshold", "30", "--workers", "0")
    assert (ended.code, ended.out) == (1, "")
    assert "options.threshold is 25.0 in the store and 30.0 now" in ended.error_line
    assert "--overwrite" in ended.error_line
    assert tree_digest(place) == before
    code, summary = masks(fda, place, "--masks", "default", "--threshold", "30", "--overwrite")
    assert (code, summary["num_shards_made"]) == (0, 3)
    changed = {name for name, digest in tree_digest(place).items() if before.get(name) != digest}
    assert changed
    assert all("/masks/default/" in name for name in changed)


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        ((), 2, "Missing option '--masks'"),
        (("--masks", "../x"), 2, "mask set name '../x': use up to 100 letters"),
        (("--masks", ""), 2, "mask set name ''"),
        (("--masks", "x", "--threshold", "300"), 2, "300.0 is not in the range 0<=x<=255"),
        (("--masks", "x", "--threshold", "nan"), 2, "threshold must be in 0..255 grey levels, got nan"),
        (("--masks", "x", "--kernel-size", "4"), 2, "4 is even: it must be odd, such as 3 or 5"),
        (("--masks", "x", "--full-coverage", "0"), 2, "0.0 is not in the range 0<x<=1"),
        (("--masks", "x", "--difference", "all"), 2, "'all' is not one of 'sampled', 'consecutive', 'background'"),
        (("--masks", "x", "--difference", "auto", "--compensation", "similarity"), 2, "'auto' takes no compensation"),
        (("--masks", "x", "--difference", "consecutive", "--cuts", "content"), 2, "do not matter"),
        (
            ("--masks", "x", "--noise-sigmas", "3"),
            2,
            "noise_sigmas 3 would change nothing: it is for threshold_mode 'n",
        ),
        (("--masks", "x", "--noise-floor", "3"), 2, "noise_floor 3 would change nothing"),
        (("--masks", "x", "--threshold", "9", "--threshold-mode", "noise"), 2, "threshold 9 would change nothing"),
        (("--masks", "x", "--fill", "holes"), 2, "'holes' is not one of 'none', 'contours', 'hysteresis', 'both'"),
        (("--masks", "x", "--difference", "consecutive"), 1, "make a store with `fda preprocess --neighbours`"),
    ],
)
def test_bad_options_are_named_and_change_nothing(
    fda: Commands, place: Path, flags: tuple[str, ...], code: int, message: str
) -> None:
    before = tree_digest(place)
    ended = fda("masks", place, *flags, "--workers", "0", "--overwrite")
    assert (ended.code, ended.out) == (code, "")
    assert message in ended.error_line
    assert tree_digest(place) == before


def test_no_store_and_a_store_that_is_not_complete(fda: Commands, place: Path, tmp_path: Path) -> None:
    ended = fda("masks", tmp_path / "none", "--masks", "x")
    assert (ended.code, ended.out) == (1, "")
    assert "no store at" in ended.error_line
    assert not (tmp_path / "none").exists()
    store = Store.open(place)
    store.folder.remove(commit_name(store.shards("test")[1], "frames"))
    before = tree_digest(place)
    ended = fda("masks", place, "--masks", "x", *MASK_FLAGS)
    assert ended.code == 1
    assert "shard test/00001" in ended.error_line
    assert "fda preprocess" in ended.error_line
    assert tree_digest(place) == before
