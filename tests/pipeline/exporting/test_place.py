"""Where an export may be, that it is there whole or not at all, and what `--overwrite` removes."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import fda
from pipeline.exporting import place
from pipeline.exporting.destination import RECORD_FILE, Destination, NewFile
from pipeline.exporting.formats.parquet import ParquetWriter
from store.store import Store
from tests.pipeline.exporting.made import FEATURES
from tests.stores import tree_digest

PLAIN = fda.ExportOptions(fda.ExportFormat.PARQUET)
AGAIN = fda.ExportOptions(fda.ExportFormat.PARQUET, features=FEATURES, overwrite=True)
NAMES = ["captions.parquet", "croissant.json", "fda-export-files.txt", "fda-export.json", "videos.parquet"]


class Killed(BaseException):
    """The process ends here: nothing is tidied up."""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_it_appears_when_it_is_complete_and_the_store_is_as_it_was(store: Store, tmp_path: Path) -> None:
    before = tree_digest(Path(store.place), leave_out=())
    seen = []
    out = tmp_path / "new/out"
    fda.export(store.place, out, PLAIN, listener=lambda event: seen.append(out.exists()))
    assert seen
    assert not any(seen)
    assert names(out) == NAMES
    assert names(tmp_path / "new") == ["out"]
    assert tree_digest(Path(store.place), leave_out=()) == before


def test_places_that_are_none(store: Store, tmp_path: Path) -> None:
    its = Path(store.place)
    (tmp_path / "link").symlink_to(its)
    for out in (
        its,
        its / "clips.zarr/out",
        its.parent,
        tmp_path / "link",
        tmp_path / "link/out",
        "s3://bucket/out",
        "",
    ):
        with pytest.raises(fda.OptionError):
            fda.export(store.place, out, PLAIN)
    assert not (its / "clips.zarr/out").exists()


def test_what_is_there_is_refused_and_stays(store: Store, tmp_path: Path) -> None:
    file, full, theirs = tmp_path / "file", tmp_path / "full", tmp_path / "theirs"
    file.write_text("mine")
    full.mkdir()
    (full / "notes.txt").write_text("mine")
    theirs.mkdir()
    (theirs / RECORD_FILE).write_text('{"kind": "of another program"}')
    before = tree_digest(tmp_path, leave_out=())
    for out, message in (
        (file, "is a file"),
        (full, r"not empty \(it contains 'notes.txt'\)"),
        (theirs, "not empty"),
        (tmp_path / "file/out", "Not a directory|File exists"),
    ):
        with pytest.raises((fda.InputError, place.ExportWriteError), match=message):
            fda.export(store.place, out, PLAIN)
        with pytest.raises((fda.InputError, place.ExportWriteError)):
            fda.export(store.place, out, AGAIN)
    assert tree_digest(tmp_path, leave_out=()) == before


def test_an_empty_folder_is_used_also_through_a_link(store: Store, tmp_path: Path) -> None:
    (tmp_path / "disk/empty").mkdir(parents=True)
    (tmp_path / "out").symlink_to(tmp_path / "disk/empty")
    fda.export(store.place, tmp_path / "out", PLAIN)
    assert (tmp_path / "out").is_symlink()
    assert names(tmp_path / "disk/empty") == NAMES


def test_overwrite_replaces_an_export_and_refuses_what_is_not_of_one(store: Store, tmp_path: Path) -> None:
    out = tmp_path / "out"
    fda.export(store.place, out, PLAIN)
    with pytest.raises(fda.InputError, match="is an export .--overwrite replaces it"):
        fda.export(store.place, out, PLAIN)
    (out / "notes.txt").write_text("mine")
    with pytest.raises(fda.InputError, match=r"contains 'notes.txt', which `fda export` did not write"):
        fda.export(store.place, out, AGAIN)
    (out / "notes.txt").unlink()
    (out / "videos.parquet").unlink()
    (out / "videos.parquet").symlink_to(store.place)  # and not into what it points at
    with pytest.raises(fda.InputError, match=r"contains 'videos.parquet'"):
        fda.export(store.place, out, AGAIN)
    (out / "videos.parquet").unlink()
    fda.export(store.place, out, AGAIN)
    webdataset = fda.ExportOptions(fda.ExportFormat.WEBDATASET, overwrite=True)
    fda.export(store.place, out, webdataset)
    assert "videos.parquet" not in names(out)
    assert names(tmp_path) == ["out"]


@contextmanager
def without_tidying(patch: pytest.MonkeyPatch) -> Iterator[None]:
    with patch.context() as inner:
        inner.setattr(shutil, "rmtree", lambda *_, **__: None)
        yield


@pytest.mark.parametrize(
    ("number", "is_there"), [*((number, False) for number in range(5)), (3, True), (4, True), (5, True)]
)
def test_a_kill_leaves_what_was_there_and_the_next_run_tidies_up(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, is_there: bool
) -> None:
    """Before each file, and between the two moves that replace an export."""
    out = tmp_path / "out"
    if is_there:
        fda.export(store.place, out, PLAIN)
    before = tree_digest(tmp_path, leave_out=())
    calls = 0

    def killed(of: Any) -> Any:
        def call(*given: Any, **more: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls > number:
                raise Killed
            return of(*given, **more)

        return call

    with without_tidying(monkeypatch), monkeypatch.context() as patch:
        patch.setattr(Destination, "file", killed(Destination.file))
        patch.setattr(Path, "rename", killed(Path.rename))
        with pytest.raises(Killed):
            fda.export(store.place, out, AGAIN)
    found = tree_digest(tmp_path, leave_out=())
    assert {name: of for name, of in found.items() if name.startswith("out/")} in (before, {})
    fda.export(store.place, out, AGAIN)
    assert names(out) == NAMES
    assert names(tmp_path) == ["out"]


def test_what_a_kill_between_the_two_moves_took_away_is_put_back(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    fda.export(store.place, out, PLAIN)
    before = tree_digest(out, leave_out=())
    out.rename(tmp_path / ".out.replaced")
    with pytest.raises(fda.InputError, match="is an export"):
        fda.export(store.place, out, PLAIN)
    assert tree_digest(out, leave_out=()) == before


def test_a_list_of_files_that_names_other_places_removes_nothing_there(store: Store, tmp_path: Path) -> None:
    out, mine = tmp_path / "out", tmp_path / "mine.txt"
    fda.export(store.place, out, PLAIN)
    mine.write_text("mine")
    with (out / "fda-export-files.txt").open("a") as names_of_files:
        names_of_files.write(f"../mine.txt\n../../mine.txt\n{mine}\n")
    fda.export(store.place, out, AGAIN)
    assert mine.read_text() == "mine"


def test_a_folder_where_an_export_is_made_that_is_of_somebody_else(store: Store, tmp_path: Path) -> None:
    partial = tmp_path / ".out.partial"
    partial.mkdir()
    (partial / "thesis.txt").write_text("precious")
    with pytest.raises(fda.InputError, match=r"\.out\.partial.* contains 'thesis.txt'.*: move it away"):
        fda.export(store.place, tmp_path / "out", PLAIN)
    assert (partial / "thesis.txt").read_text() == "precious"
    assert names(tmp_path) == [".out.partial"]


def test_two_at_once(store: Store, tmp_path: Path) -> None:
    partial = tmp_path / ".out.partial"
    partial.mkdir()
    descriptor = os.open(partial, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with pytest.raises(place.ExportBusyError, match="another export to .*out is running"):
        fda.export(store.place, tmp_path / "out", PLAIN)
    os.close(descriptor)
    fda.export(store.place, tmp_path / "out", PLAIN)


def test_somebody_writes_to_out_meanwhile(store: Store, tmp_path: Path) -> None:
    out = tmp_path / "out"

    def listener(event: object) -> None:
        if isinstance(event, fda.ItemsDone) and not out.exists():
            out.mkdir()
            (out / "notes.txt").write_text("mine")

    with pytest.raises(fda.InputError, match="not empty"):
        fda.export(store.place, out, PLAIN, listener=listener)
    assert names(out) == ["notes.txt"]
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize("name", list(fda.ExportFormat))
def test_a_full_disk(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    write, num_bytes = NewFile.write, 0

    def full(self: NewFile, content: Any) -> int:
        nonlocal num_bytes
        num_bytes += memoryview(content).nbytes
        if num_bytes > 300:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(self, content)

    monkeypatch.setattr(NewFile, "write", full)
    features = None if name == "webdataset" else FEATURES
    with pytest.raises(place.ExportWriteError, match="no space left on the disk. Nothing half-written is left"):
        fda.export(store.place, tmp_path / "out", fda.ExportOptions(fda.ExportFormat(name), features=features))
    assert names(tmp_path) == []


def test_ids_that_this_disk_takes_for_one(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.exporting.formats.clip_video_encode.file_name", lambda video_id: "same")
    options = fda.ExportOptions(fda.ExportFormat.CLIP_VIDEO_ENCODE, features=FEATURES)
    with pytest.raises(fda.InputError, match="does not tell capital letters from others"):
        fda.export(store.place, tmp_path / "out", options)
    assert names(tmp_path) == []


def test_an_error_of_a_format_leaves_nothing(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: ParquetWriter) -> None:
        raise KeyError("a bug")

    monkeypatch.setattr(ParquetWriter, "finish", broken)
    with pytest.raises(KeyError, match="a bug"):
        fda.export(store.place, tmp_path / "out", PLAIN)
    assert names(tmp_path) == []
