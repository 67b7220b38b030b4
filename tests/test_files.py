from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

import pytest

from store.errors import StoreError, StoreMissingError, StoreWriteError
from store.files import StoreFolder, WrittenFile, check_name


def test_a_file_is_written_whole_with_its_digest(tmp_path: Path) -> None:
    folder = StoreFolder.at(tmp_path / "store")
    written = folder.write("a/b/c.bin", b"content")
    assert written == WrittenFile("a/b/c.bin", 7, hashlib.sha256(b"content").hexdigest())
    assert folder.read("a/b/c.bin") == b"content"
    assert folder.num_bytes("a/b/c.bin") == 7
    assert WrittenFile.from_dict(written.to_dict()) == written


def test_writing_leaves_nothing_else_behind(tmp_path: Path) -> None:
    folder = StoreFolder.at(tmp_path)
    folder.write("name", b"1")
    folder.write("name", b"2")
    folder.remove_partial_files()
    assert [path.name for path in tmp_path.iterdir()] == ["name"]


@pytest.mark.parametrize(("owner", "call"), [(os, "fsync"), (Path, "replace")])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EIO])
def test_a_failed_write_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: object, call: str, code: int
) -> None:
    folder = StoreFolder.at(tmp_path)
    folder.write("name", b"before")

    def fails(*args: object, **kwargs: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(owner, call, fails)
    with pytest.raises(StoreWriteError, match=r"cannot write name in .*run the same command again") as caught:
        folder.write("name", b"after")
    assert isinstance(caught.value, OSError)
    assert folder.read("name") == b"before"
    assert list(folder.names("partial")) == []


def test_a_file_that_cannot_be_removed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = StoreFolder.at(tmp_path)
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
        StoreFolder.at(tmp_path).write("name", b"1")


def test_what_a_killed_run_left_is_removed(tmp_path: Path) -> None:
    folder = StoreFolder.at(tmp_path)
    folder.path("partial").mkdir()
    folder.path("partial/0123").write_bytes(b"half")
    folder.remove_partial_files()
    assert not folder.path("partial").exists()


def test_a_missing_file(tmp_path: Path) -> None:
    folder = StoreFolder.at(tmp_path / "nowhere")
    assert folder.num_bytes("name") is None
    assert list(folder.names("folder")) == []
    with pytest.raises(StoreMissingError, match="has no name"):
        folder.read("name")


def test_a_store_is_a_local_folder(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="s3://bucket/store"):
        StoreFolder.at("s3://bucket/store")
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="is a file, not a folder"):
        StoreFolder.at(tmp_path / "file")


@pytest.mark.parametrize("name", ["", ".", "..", "-x", "a/b", "a b", "ü", "x" * 101, ".hidden"])
def test_a_name_that_could_not_be_a_folder_everywhere_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="mask set name"):
        check_name("mask set", name)
