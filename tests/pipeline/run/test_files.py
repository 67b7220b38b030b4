"""Where a command may write files beside a store."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.run.files import check_writable
from tests.stores import make_store


def test_places_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*nowhere for x\.parquet"):
        check_writable(tmp_path / "nowhere" / "x.parquet")
    with pytest.raises(FileExistsError):
        check_writable(tmp_path, overwrite=True)
    (tmp_path / "x.parquet").write_text("mine")
    with pytest.raises(FileExistsError, match=r"x\.parquet exists already: .*--overwrite"):
        check_writable(tmp_path / "x.parquet")
    check_writable(tmp_path / "x.parquet", overwrite=True)
    check_writable(tmp_path / "y.parquet")
    monkeypatch.setattr("os.access", lambda path, mode: mode != os.W_OK)
    with pytest.raises(PermissionError, match="read-only"):
        check_writable(tmp_path / "y.parquet")


def test_no_file_lies_in_a_store_whichever_way_leads_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = make_store(tmp_path / "store", 1).place
    (tmp_path / "link").symlink_to(place)
    (tmp_path / "folder").mkdir()
    (tmp_path / "store/commits").mkdir(exist_ok=True)
    said = "would lie in the store .*, which has its own files only: give another place"
    for path in ("store/a.html", "store/commits/../a.html", "link/a.html", "folder/../store/store.json"):
        with pytest.raises(InputError, match=said):
            check_writable(tmp_path / path, "s3://bucket/store", tmp_path / "folder", place, overwrite=True)
    monkeypatch.chdir(place)
    with pytest.raises(InputError, match=r"^a\.html would lie in the store \.,"):
        check_writable(Path("a.html"), ".")
    check_writable(tmp_path / "a.html", place, tmp_path)
    check_writable(tmp_path / "folder/a.html", place, tmp_path / "folder", tmp_path / "gone")
