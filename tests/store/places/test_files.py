"""Names, addresses, and what a local folder does beyond what every folder does (`test_folders`)."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from store.errors import StorePlaceError, StoreWriteError
from store.names import check_name
from store.places.local import LocalFolder
from store.places.opening import folder_at


@pytest.mark.parametrize(("owner", "call"), [(os, "fsync"), (Path, "replace")])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EIO])
def test_a_failed_write_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: object, call: str, code: int
) -> None:
    folder = folder_at(tmp_path)
    folder.write("name", b"before")

    def fails(*args: object, **kwargs: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(owner, call, fails)
    with pytest.raises(StoreWriteError, match=r"cannot write name in .*run the same command again") as caught:
        folder.write("name", b"after")
    assert isinstance(caught.value, OSError)
    assert folder.read("name") == b"before"
    assert folder.names("partial/unclaimed") == []


def test_a_file_that_cannot_be_removed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = folder_at(tmp_path)
    folder.write("name", b"1")
    folder.remove("gone")

    def fails(path: Path) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "unlink", fails)
    with pytest.raises(StoreWriteError, match=r"cannot remove name in .*: Read-only file system"):
        folder.remove("name")


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreWriteError, match="no space left on the disk"):
        folder_at(tmp_path).write("name", b"1")


def test_what_a_killed_run_left_is_removed_and_what_a_live_one_writes_is_not(tmp_path: Path) -> None:
    folder = LocalFolder.at(tmp_path)
    dead, live, half = (character * 32 for character in "de0")
    for claim in (dead, live):
        folder.path(f"partial/{claim}").mkdir(parents=True)
        folder.path(f"partial/{claim}/{half}").write_bytes(b"half")
    folder.write(f"claims/{live}.json", b"1")
    assert folder.remove_partial_files() == [f"partial/{dead}/{half}"]
    assert [stored.name for stored in folder.walk()] == [f"claims/{live}.json", f"partial/{live}/{half}"]
    folder.remove(f"claims/{live}.json")
    assert folder.remove_partial_files() == [f"partial/{live}/{half}"]
    assert list(folder.walk()) == []
    assert folder.folders("") == ["claims"]


def test_an_open_file_is_the_version_that_was_opened(tmp_path: Path) -> None:
    folder = folder_at(tmp_path)
    folder.write("name", b"before")
    file, buffer = folder.open("name"), np.zeros(6, dtype=np.uint8)
    folder.write("name", b"after!")
    assert file is not None
    assert file.fill(0, [buffer])
    assert buffer.tobytes() == b"before"


def test_a_store_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorePlaceError, match="is a file, not a folder"):
        folder_at(tmp_path / "file")


@pytest.mark.parametrize("name", ["", ".", "..", "-x", "a/b", "a b", "ü", "x" * 101, ".hidden"])
def test_a_name_that_could_not_be_a_folder_everywhere_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="mask set name"):
        check_name("mask set", name)


@pytest.mark.parametrize("name", [None, 3, Path("a")])
def test_a_name_that_is_no_text_is_refused(name: object) -> None:
    with pytest.raises(ValueError, match="mask set name"):
        check_name("mask set", name)
