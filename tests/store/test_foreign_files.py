"""Whatever a user keeps in a store, and whatever links in it point at, outlives every command that removes."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import PipelineError
from pipeline.masks.run import make_masks
from pipeline.run.options import RunOptions
from pipeline.upkeep.options import RemoveOptions
from pipeline.upkeep.run import finalise, remove, verify
from store.catalog import CAPTIONS_NAME, VIDEOS_NAME
from store.claims.holding import ANY_STAGE, claimed
from store.commits import remove_withdrawn
from store.errors import StoreError
from store.growth import create_store
from store.own_files import own_files, own_name
from store.places.folder import StoredFile, StoreFolder
from store.places.opening import folder_at
from store.store import MANIFEST_NAME, Store, check_empty, clear_store
from tests.s3 import Server, place_of, use_server
from tests.store.foreign import (
    HALF,
    LINKS,
    NUM_VIDEOS,
    PUT,
    everything,
    make_outside,
    make_whole,
    manifest_of_whole,
    put_file,
    write_leftovers,
)
from tests.stores import MASKS, make_catalog


def start_over(place: str) -> None:
    with claimed(folder_at(place), "preprocess", [ANY_STAGE]) as folder:
        clear_store(folder)
        create_store(folder, manifest_of_whole(), make_catalog(NUM_VIDEOS), is_cleared=True)


def clean_up(place: str) -> None:
    with claimed(folder_at(place), "preprocess", ["frames"]) as folder:
        remove_withdrawn(Store.open(folder))


COMMANDS: dict[str, Callable[[str], object]] = {
    "preprocess --overwrite": start_over,
    "preprocess": clean_up,
    "masks --overwrite": lambda place: make_masks(place, MASKS, run=RunOptions(workers=0, overwrite=True, yes=True)),
    "verify --repair": lambda place: verify(place, repair=True),
    "finalise": finalise,
    "remove --masks": lambda place: remove(place, RemoveOptions(masks=(MASKS,))),
    "remove --features": lambda place: remove(place, RemoveOptions(features=("mine",))),
}
FOLDERS = (
    "",
    *("catalog", "claims", "partial", "partial/unclaimed", "runs", "withdrawn", "withdrawn/test/frames"),
    *("clips.zarr", "clips.zarr/test", "clips.zarr/test/frames", f"clips.zarr/test/masks/{MASKS}"),
    *("commits", "commits/test", "commits/test/frames", "commits/test/features/mine/video", "commits/notes"),
    *("features.zarr", "features.zarr/mine", "features.zarr/mine/test", "features.zarr/mine/test/video"),
)
NAMES = (
    *("notes.txt", ".hidden", "c.0.0~", "zarr.json.old", "00000.parquet~", "videos.csv", "thesis.tex", "checkpoint"),
    *("partial", "withdrawn", "claims", "unclaimed", "commits", "test", "theirs", "mine", "0123", "zarr", "c"),
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("foreign") / "store"
    write_leftovers(make_whole(place).folder)
    return place


@settings(max_examples=12)
@given(
    st.lists(st.tuples(st.sampled_from(FOLDERS), st.sampled_from(NAMES), st.sampled_from(list(PUT))), max_size=6),
    st.lists(st.sampled_from(list(COMMANDS)), min_size=1, max_size=3),
)
def test_no_command_touches_what_is_not_the_store_s(
    whole: Path, things: list[tuple[str, str, str]], commands: list[str]
) -> None:
    with TemporaryDirectory() as temporary:
        place, outside = Path(temporary, "store"), make_outside(Path(temporary, "home"))
        shutil.copytree(whole, place)
        own = set(everything(place))
        for folder, name, kind in things:
            path = place / folder / name
            with suppress(OSError):  # a thing before it may be in the way
                path.parent.mkdir(parents=True, exist_ok=True)
                if path.parent.resolve().is_relative_to(place) and not os.path.lexists(path):
                    PUT[kind](path, outside)
        before = everything(place), everything(outside)
        foreign = {name: what for name, what in before[0].items() if name not in own}
        assert not any(own_name(StoredFile(name, 0)) for name, what in foreign.items() if what[1] == b"years of work")
        for command in commands:
            with suppress(StoreError, PipelineError):
                COMMANDS[command](str(place))
        after = everything(place)
        assert {name: after.get(name) for name in foreign} == foreign
        assert everything(outside) == before[1]


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("kind", LINKS)
def test_a_link_called_partial_is_refused_by_name(whole: Path, tmp_path: Path, command: str, kind: str) -> None:
    place, outside = tmp_path / "store", make_outside(tmp_path / "home")
    shutil.copytree(whole, place)
    shutil.rmtree(place / "partial")
    PUT[kind](place / "partial", outside)
    (place / f"claims/{1:032x}.beat").unlink()  # which would be removed
    before = everything(place), everything(outside)
    with pytest.raises(StoreError, match="partial is a link to .*, which is not followed, and not the folder"):
        COMMANDS[command](str(place))
    assert (everything(place), everything(outside)) == before


def test_a_user_s_own_partial_folder_stays_and_no_store_is_made_around_it(tmp_path: Path) -> None:
    (tmp_path / "partial").mkdir()
    put_file(tmp_path / "partial/notes.txt", tmp_path)
    with pytest.raises(StoreError, match=r"not empty \(it contains 'partial/notes.txt'\)"):
        make_whole(tmp_path)
    folder_at(tmp_path).remove_partial_files()
    assert list(everything(tmp_path)) == ["partial/notes.txt"]


def test_of_partial_files_only_those_with_names_of_ours_are_removed(tmp_path: Path) -> None:
    half, theirs = f"{7:032x}", {"partial/notes.txt", f"partial/mine/{7:032x}", "partial/unclaimed/notes.txt"}
    ours = {f"partial/unclaimed/{half}", f"partial/{half}/{half}"}
    for name in theirs | ours:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        put_file(tmp_path / name, tmp_path)
    assert set(folder_at(tmp_path).remove_partial_files()) == ours
    assert set(everything(tmp_path)) == theirs


@pytest.mark.parametrize("kind", [kind for kind in PUT if kind != "Zarr"])
@pytest.mark.parametrize("name", ["thesis.tex", "partial", "claims", "partial/unclaimed", "claims/mine"])
def test_a_folder_with_anything_in_it_is_not_empty(tmp_path: Path, name: str, kind: str) -> None:
    place = tmp_path / "store"
    (place / name).parent.mkdir(parents=True)
    PUT[kind](place / name, make_outside(tmp_path / "home"))
    with pytest.raises(StoreError, match=r"not empty \(it contains '"):
        check_empty(folder_at(place))


def test_what_killed_runs_left_is_no_obstacle(tmp_path: Path) -> None:
    folder = folder_at(tmp_path)
    folder.write(f"partial/unclaimed/{5:032x}", b"half")
    folder.write(f"claims/{5:032x}.json", b"{}")
    check_empty(folder)


def test_everything_that_the_store_has_is_its_own(whole: Path) -> None:
    names = [own.name for own in own_files(folder_at(whole))]
    assert names == sorted(everything(whole))


def test_repair_counts_what_it_removes(whole: Path, tmp_path: Path) -> None:
    place = Path(shutil.copytree(whole, tmp_path / "store"))
    before = set(everything(place))
    result = verify(place, repair=True)
    removed = before - set(everything(place))
    assert result.repaired is not None
    assert len(removed) == 3  # half a file, a heartbeat and a damaged run record
    assert result.repaired.num_removed == len(removed)
    repairs = [finding.repair for finding in result.found.findings if finding.repair is not None]
    assert removed == {name for repair in repairs for name in repair.remove}
    assert verify(place).found.findings == ()


FOREIGN_OBJECTS = (
    *("thesis.tex", "partial/notes.txt", "checkpoint/model.safetensors", "commits/notes", "clips.zarr/test/x/y"),
    *("clips.zarr/test/frames/notes", "features.zarr/theirs/data/c.0.0", "runs/notes.json", "withdrawn/notes"),
    *("features.zarr/theirs/test/video/c.0.0", "claims/notes", "catalog/mine.parquet", "test/frames/00000.parquet"),
)


@pytest.mark.parametrize(
    "command", ["preprocess --overwrite", "verify --repair", "remove --features", "remove --masks"]
)
def test_foreign_objects_below_the_prefix_stay(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, server: Server, whole: Path, command: str
) -> None:
    use_server(monkeypatch, server)
    folder = folder_at(place_of(request))
    copy(folder_at(whole), folder)
    own = {stored.name for stored in folder.walk()}
    for name in FOREIGN_OBJECTS:
        folder.write(name, b"years of work")
    COMMANDS[command](folder.place)
    left = {stored.name for stored in folder.walk()}
    assert left - own >= set(FOREIGN_OBJECTS)
    assert all(folder.read(name) == b"years of work" for name in FOREIGN_OBJECTS)
    if command == "preprocess --overwrite":
        assert left & own == {MANIFEST_NAME, VIDEOS_NAME, CAPTIONS_NAME, HALF}


def copy(source: StoreFolder, target: StoreFolder) -> None:
    for stored in source.walk():
        target.write(stored.name, source.read(stored.name))
