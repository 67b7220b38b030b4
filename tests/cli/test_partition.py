"""Jobs done in parts: no part knows of the others, and together they make the store that one run makes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.run.partition import Partition
from store.failures import read_failures
from store.places.local import LocalFolder
from tests.clips_on_disk import SMALL_FLAGS, Commands, write_mixed_dataset
from tests.stores import tree_digest

FLAGS = (*SMALL_FLAGS, "--workers", "0")


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_mixed_dataset(tmp_path_factory.mktemp("mixed"))


@given(num_items=st.integers(0, 50), count=st.integers(1, 12))
def test_each_item_is_in_one_part_and_parts_are_alike(num_items: int, count: int) -> None:
    parts = [Partition(index, count).take(range(num_items)) for index in range(1, count + 1)]
    assert sorted(item for part in parts for item in part) == list(range(num_items))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize("text", ["", "1", "0/4", "5/4", "-1/4", "1/0", "1/4/2", "a/b", "1 / 4", "1/4\n", "٣/4"])
def test_what_is_no_partition_is_refused(fda: Commands, manifest: Path, tmp_path: Path, text: str) -> None:
    ended = fda("preprocess", manifest, tmp_path / "store", *FLAGS, f"--partition={text}")
    assert ended.code == 2
    assert "a partition is i/n with i from 1 to n" in ended.err
    assert not (tmp_path / "store").exists()


def test_parts_in_any_order_and_finalise_make_what_one_run_makes(fda: Commands, manifest: Path, tmp_path: Path) -> None:
    place = tmp_path / "store"
    allow = ("--max-failed", "100%")
    assert fda("preprocess", manifest, tmp_path / "whole", *FLAGS, *allow).code == 0
    for index in (3, 1):
        part = fda("preprocess", manifest, place, *FLAGS, *allow, "--partition", f"{index}/3")
        assert part.code == 0
        assert f"this was part {index}/3: run `fda finalise" in part.err
        assert f"\nof part {index}/3 alone:\n" in part.out
    early = fda("finalise", place, "--json")
    assert early.code == 1
    assert "test: 1 of 3 shards of frames are pending, the first is test/00000" in early.err
    assert "run the parts that made them again" in early.err
    assert {one["stage"] for one in json.loads(early.out)["pending"]} == {"frames", "masks/default"}
    assert not (place / "catalog/failures.parquet").exists()
    assert fda("preprocess", manifest, place, *FLAGS, *allow, "--partition", "2/3").code == 0
    over = fda("finalise", place)
    assert over.code == 3
    assert "over --max-failed" in over.err
    assert fda("finalise", place, *allow).code == 0
    assert tree_digest(place) == tree_digest(tmp_path / "whole")
    failed = read_failures(LocalFolder.at(place))
    assert [(one.split, one.row, one.video_id, str(one.status)) for one in failed] == [
        ("test", 1, "gone", "missing"),
        ("test", 3, "cut", "truncated"),
        ("test", 4, "text", "corrupt"),
    ]


def test_masks_in_parts(fda: Commands, manifest: Path, tmp_path: Path) -> None:
    for name in ("store", "whole"):
        fda("preprocess", manifest, tmp_path / name, *FLAGS, "--max-failed", "100%")
    masks = ("--masks", "low", "--threshold", "10", "--workers", "0")
    assert fda("masks", tmp_path / "whole", *masks).code == 0
    for index in range(1, 6):  # more parts than shards
        part = fda("masks", tmp_path / "store", *masks, "--partition", f"{index}/5", "--json")
        assert (part.code, json.loads(part.out)["num_shards_made"]) == (0, int(index < 5))
    assert tree_digest(tmp_path / "store") == tree_digest(tmp_path / "whole")


def test_overwrite_of_a_part_is_refused(fda: Commands, manifest: Path, tmp_path: Path) -> None:
    ended = fda("preprocess", manifest, tmp_path / "store", *FLAGS, "--partition", "1/2", "--overwrite")
    assert ended.code == 2
    assert "would remove what the other parts have made" in ended.err


def test_finalise_where_there_is_no_store(fda: Commands, tmp_path: Path) -> None:
    ended = fda("finalise", tmp_path / "nowhere")
    assert (ended.code, ended.err.count("\n")) == (1, 1)
    assert "no store at" in ended.err
    assert not (tmp_path / "nowhere").exists()
