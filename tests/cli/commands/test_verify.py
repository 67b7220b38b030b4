"""`fda verify` on the command line: what it prints, how it ends, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from store.claims.holding import claimed
from store.formats.seal import BLANK, SEAL_KEY, sealed
from store.places.opening import folder_at
from tests.clips_on_disk import SMALL_FLAGS, Commands, write_small_dataset
from tests.stores import tree_digest

FRAMES = "clips.zarr/test/frames/c.0.0.0.0.0"
FLAGS = (*SMALL_FLAGS, "--workers", "0")


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    return write_small_dataset(tmp_path / "data", {"test": 3})


@pytest.fixture
def place(fda: Commands, manifest: Path, tmp_path: Path) -> Path:
    assert fda("preprocess", manifest, tmp_path / "store", *FLAGS).code == 0
    return tmp_path / "store"


def damage(path: Path) -> None:
    path.write_bytes(path.read_bytes()[::-1])


def test_from_damage_to_the_same_store_again(fda: Commands, manifest: Path, place: Path) -> None:
    whole = tree_digest(place)
    sound = fda("verify", place)
    assert (sound.code, "nothing found" in sound.out) == (0, True)
    damage(place / FRAMES)
    assert fda("verify", place, "--quick").code == 0
    found = fda("verify", place)
    assert found.code == 1
    assert found.out.startswith(f"chunk damaged: {FRAMES}: it was changed since it was written")
    assert "1 chunk damaged" in found.out.splitlines()[-1]
    repaired = fda("verify", place, "--repair")
    assert repaired.code == 0
    assert "run the commands that made the store again" in repaired.out.splitlines()[-1]
    after = fda("verify", place)
    assert (after.code, "pending: 1 shard of frames of split 'test'" in after.out) == (0, True)
    assert fda("preprocess", manifest, place, *FLAGS).code == 0
    assert tree_digest(place) == whole


def test_for_machines(fda: Commands, place: Path) -> None:
    damage(place / FRAMES)
    ended = fda("verify", place, "--json")
    result = json.loads(ended.out)
    assert (ended.code, result["num_wrong"], result["counts"]) == (1, 1, {"chunk damaged": 1})
    assert result["findings"][0]["name"] == FRAMES
    assert result["num_bytes_read"] > 0
    assert result["repaired"] is None
    repaired = json.loads(fda("verify", place, "--repair", "--json").out)["repaired"]
    assert repaired == {"num_removed": 4, "num_written": 0}


def test_what_cannot_be_repaired_stays_an_error(fda: Commands, place: Path) -> None:
    damage(place / "catalog/videos.parquet")
    before = tree_digest(place)
    ended = fda("verify", place, "--repair")
    assert (ended.code, ended.out.startswith("catalogue damaged: catalog/videos.parquet: ")) == (1, True)
    assert tree_digest(place) == before


def test_no_more_than_fifty_findings_are_printed(fda: Commands, place: Path) -> None:
    for number in range(60):
        (place / f"stranger_{number}").touch()
    ended = fda("verify", place)
    assert ended.code == 0
    assert "and 10 more: --json names all" in ended.out
    assert len(json.loads(fda("verify", place, "--json").out)["findings"]) == 60


def test_what_is_no_store_is_refused_in_one_line(fda: Commands, place: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "empty", tmp_path / "nowhere"):
        for flags in ((), ("--repair",)):
            ended = fda("verify", folder, *flags)
            assert (ended.code, len(ended.err.splitlines())) == (1, 1)
            assert "no store at" in ended.err
        assert not list(folder.glob("*"))
    assert "is a file" in fda("verify", place / "store.json").error_line
    fields = json.loads((place / "store.json").read_text()) | {"format_version": 99, SEAL_KEY: BLANK}
    (place / "store.json").write_bytes(sealed(json.dumps(fields).encode()))
    newer = fda("verify", place)
    assert (newer.code, "made by a newer fda" in newer.error_line) == (1, True)


def test_a_store_that_is_being_written_to(fda: Commands, place: Path) -> None:
    with claimed(folder_at(place), "preprocess", ["frames"]):
        looked = fda("verify", place)
        assert (looked.code, "may be writing into the store" in looked.err) == (0, True)
        refused = fda("verify", place, "--repair")
        assert (refused.code, "is being written to by preprocess" in refused.error_line) == (1, True)
