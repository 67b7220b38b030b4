"""A folder where a file should be, a link, a FIFO: readers and writers name it in a sentence, and `verify` finds it."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from pipeline.evaluation.options import EvalOptions
from pipeline.evaluation.run import evaluate
from pipeline.upkeep.run import status, verify
from store.catalog import CAPTIONS_NAME, VIDEOS_NAME
from store.clips.reader import ClipReader
from store.errors import StoreError
from store.features import read_features
from store.places.opening import folder_at
from store.store import MANIFEST_NAME, Store
from store.verify.findings import Kind
from store.view import open_store
from tests.seed import drawn
from tests.store.foreign import PUT, everything, make_outside, make_whole
from tests.store.test_foreign_files import COMMANDS
from tests.stores import MASKS

FRAMES = "clips.zarr/test/frames"
FILES = (
    *(MANIFEST_NAME, VIDEOS_NAME, CAPTIONS_NAME, "commits/test/frames/00000.parquet"),
    *(f"{FRAMES}/zarr.json", f"{FRAMES}/c.0.0.0.0.0", "features.zarr/mine/test/text/c.0.0", "clips.zarr/zarr.json"),
    "commits/test/features/mine/video/00001.parquet",
)
FOLDERS = (
    *("catalog", "clips.zarr", "features.zarr", "commits", "claims", FRAMES, "commits/test/frames"),
    *("features.zarr/mine", "features.zarr/mine/test/video"),
)
KINDS_OF_FILES = ("folder", "link to a file", "dangling link", "FIFO")
KINDS_OF_FOLDERS = ("file", "link to a folder", "dangling link", "FIFO")
NUM_KINDS = 2
"""Of each name, others at each commit (tests/seed.py)."""
CASES = [
    (name, kind)
    for names, kinds in ((FILES, KINDS_OF_FILES), (FOLDERS, KINDS_OF_FOLDERS))
    for name in names
    for kind in drawn(f"odd {name}").sample(kinds, NUM_KINDS)
]

READERS: dict[str, Callable[[str], object]] = {
    "status": status,
    "frames": lambda place: ClipReader(Store.open(place), "test", MASKS).read([0, 4]),
    "features": lambda place: read_features(Store.open(place), "mine", "test"),
    "eval": lambda place: evaluate(place, "mine", EvalOptions(split="test")),
    "view": lambda place: open_store(place).videos("test"),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("odd") / "store"
    make_whole(place)
    verify(place, repair=True)  # the metadata that the writers of real stores give
    assert verify(place).found.findings == ()
    return place


@pytest.fixture
def place(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "store"))


def replace(path: Path, kind: str, outside: Path) -> None:
    """Put something in the place of a file or a folder; links point at what was there, so that they could be used."""
    kept = outside / "kept"
    path.rename(kept)
    if kind.startswith("link"):
        path.symlink_to(kept)
    else:
        PUT[kind](path, outside)


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_it_is_named_by_all_and_removed_by_nobody(place: Path, tmp_path: Path, name: str, kind: str) -> None:
    outside = make_outside(tmp_path / "home")
    replace(place / name, kind, outside)
    before, home = everything(place), everything(outside)
    odd = {own: what for own, what in before.items() if own == name or own.startswith(f"{name}/")}
    errors = []
    for read in READERS.values():
        with suppress(KeyError):  # a NotInStoreError: a folder of many is not listed
            try:
                read(str(place))
            except StoreError as error:
                errors.append(str(error))
    assert all("Errno" not in error and "\n" not in error for error in errors)
    if name != "claims" and not (name.startswith("clips.zarr") and name.endswith("zarr.json")):  # which nobody reads
        assert any(f"{name} is a" in error and "not the f" in error for error in errors)
    if name == MANIFEST_NAME:
        with pytest.raises(StoreError, match=r"cannot look for store.json in .*: store.json is a"):
            verify(place)
    else:
        found = {one.name: one for one in verify(place).found.findings if not one.kind.is_harmless}
        assert found[name].kind is (Kind.LINK if "link" in kind else Kind.ODD)
        assert set(found) == {name}
    for command in ("verify --repair", "finalise", "remove --masks", "remove --features", "preprocess --overwrite"):
        with suppress(StoreError):
            COMMANDS[command](str(place))
    after = everything(place)
    assert {own: after.get(own) for own in odd} == odd
    assert everything(outside) == home


def test_repair_rebuilds_nothing_behind_what_is_odd(place: Path, tmp_path: Path) -> None:
    """The record of a shard cannot be seen: nothing says that its data are of no use."""
    replace(place / "commits/test/frames", "link to a folder", make_outside(tmp_path / "home"))
    before = everything(place)
    result = verify(place, repair=True)
    assert not result.is_sound
    assert result.repaired is not None
    assert result.repaired.num_removed == result.repaired.num_written == 0
    assert everything(place) == before


@pytest.mark.parametrize("name", [f"{FRAMES}/c.0.0.0.0.0", "commits/test/frames", "catalog/captions.parquet", "notes"])
def test_what_this_user_may_not_read(place: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Whoever runs the tests may be allowed to read everything, so that the system's answer is replaced."""
    (place / "notes").write_text("mine")
    ask, before = os.access, everything(place)
    monkeypatch.setattr(os, "access", lambda path, mode: not str(path).endswith(name) and ask(path, mode))
    result = verify(place, repair=True)
    found = {one.name: one.kind for one in result.found.findings}
    assert found.pop("notes", Kind.FOREIGN) is Kind.FOREIGN
    assert found == ({} if name == "notes" else {name: Kind.ODD})
    assert everything(place) == before


def test_a_store_that_is_a_link_itself_is_its_user_s_choice(place: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(place)
    assert verify(tmp_path / "link").found.findings == ()
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    with pytest.raises(StoreError, match="is a link to '.*gone', which is not there"):
        folder_at(tmp_path / "nowhere")


@pytest.mark.parametrize("code", ["EACCES", "EIO", "ESTALE"])
def test_a_file_that_cannot_be_read_is_named(place: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    number = getattr(errno, code)

    def fails(*args: object, **kwargs: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "open", fails)
    with pytest.raises(StoreError, match=r"cannot read store.json in .*(may not|error|Stale)"):
        folder_at(place).read(MANIFEST_NAME)
