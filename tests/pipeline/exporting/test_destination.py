"""A file of an export while it is written: hashed and flushed beside that, and an error of either is not lost."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

import pytest

import fda
from pipeline.exporting import destination
from pipeline.exporting.destination import Destination
from pipeline.exporting.place import ExportWriteError
from store.store import Store
from tests.pipeline.exporting.made import FEATURES

SIZES = (0, 1, 70_000, 3, 2**16 - 1, 2**16, 200_000, 5)


@pytest.fixture
def flushed_often(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Have files flushed after each write; returns the size of a file at each."""
    sizes: list[int] = []
    fsync = os.fsync

    def counted(descriptor: int) -> None:
        sizes.append(os.fstat(descriptor).st_size)
        fsync(descriptor)

    monkeypatch.setattr(destination, "_FLUSHED_BYTES", 1)
    monkeypatch.setattr(os, "fsync", counted)
    return sizes


def test_the_sha256_is_of_what_was_written(tmp_path: Path, flushed_often: list[int]) -> None:
    pieces = [bytes([number]) * size for number, size in enumerate(SIZES)]
    out = Destination(tmp_path)
    with out.file("new", hashed=True) as new:
        for piece in pieces:
            reused = bytearray(piece)
            assert new.write(reused) == new.write(memoryview(piece)) == len(piece)
            reused[:] = bytes(len(reused))  # a writer may use its buffer again at once
        assert new.tell() == 2 * sum(SIZES)
    out.close()
    content = b"".join(2 * piece for piece in pieces)
    assert (tmp_path / "new").read_bytes() == content
    assert new.sha256 == hashlib.sha256(content).hexdigest()
    assert flushed_often[-1] == len(content)
    assert len(flushed_often) > 1


@pytest.mark.parametrize("name", [fda.ExportFormat.PARQUET, fda.ExportFormat.NPZ])
def test_a_disk_that_fails_while_a_file_is_written_on(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flushed_often: list[int], name: fda.ExportFormat
) -> None:
    fsync = os.fsync
    failed: list[int] = []

    def failing_once(descriptor: int) -> None:
        if not failed:  # the system tells of a lost page once: whoever asks again hears that all is well
            failed.append(descriptor)
            raise OSError(errno.EIO, "Input/output error")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", failing_once)
    with pytest.raises(ExportWriteError, match="Input/output error. Nothing half-written is left"):
        fda.export(store.place, tmp_path / "out", fda.ExportOptions(name, features=FEATURES))
    assert list(tmp_path.iterdir()) == []
