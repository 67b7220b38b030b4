"""The folder a store lives in: files are written whole or not at all, and each write says what it wrote."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from store.errors import StoreMissingError, StorePlaceError, StoreWriteError

PARTIAL_FOLDER = "partial"
"""Files on their way. What a killed run left there is removed by the next."""

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """One file of a store as it was written; what a commit record vouches for."""

    name: str
    """Relative to the store, with forward slashes."""
    num_bytes: int
    sha256: str

    def to_dict(self) -> dict[str, str | int]:
        """The fields as JSON."""
        return {"name": self.name, "num_bytes": self.num_bytes, "sha256": self.sha256}

    @classmethod
    def from_dict(cls, fields: Mapping[str, str | int]) -> Self:
        """The inverse of `to_dict`."""
        return cls(str(fields["name"]), int(fields["num_bytes"]), str(fields["sha256"]))


@dataclass(frozen=True, slots=True)
class StoreFolder:
    """A local folder with atomic writes. Names are relative, with forward slashes."""

    root: Path

    @classmethod
    def at(cls, place: str | os.PathLike[str]) -> Self:
        """The folder at `place`, which need not exist yet."""
        text = os.fspath(place)
        if "://" in text:
            raise StorePlaceError(
                f"{text!r} is an object store, which this version cannot use yet: give a local folder"
            )
        path = Path(text).absolute()
        if path.exists() and not path.is_dir():
            raise StorePlaceError(f"{text!r} is a file, not a folder: a store is a folder")
        return cls(path)

    def path(self, name: str) -> Path:
        """Where the file `name` lies."""
        return self.root / name

    def write(self, name: str, content: bytes | memoryview) -> WrittenFile:
        """Write a file atomically and durably: after a crash at any point it is there whole, or as it was before.

        Raises:
            StoreWriteError: The disk is full, read-only or failing. Nothing is left under `name`.
        """
        try:
            try:
                self._replace(name, content)
            except FileNotFoundError:  # another run has just ended, and took the partial file for a leftover
                self._replace(name, content)
        except OSError as error:
            raise _write_error("write", name, self.root, error) from error
        return WrittenFile(name, len(content), hashlib.sha256(content).hexdigest())

    def _replace(self, name: str, content: bytes | memoryview) -> None:
        target, partial = self.path(name), self.path(PARTIAL_FOLDER) / uuid.uuid4().hex
        try:
            partial.parent.mkdir(parents=True, exist_ok=True)
            target.parent.mkdir(parents=True, exist_ok=True)
            _write_through(partial, content)
            partial.replace(target)
            _sync_folder(target.parent)
        finally:
            partial.unlink(missing_ok=True)

    def read(self, name: str) -> bytes:
        """The content of a file.

        Raises:
            StoreMissingError: There is none.
        """
        try:
            return self.path(name).read_bytes()
        except FileNotFoundError as error:
            raise StoreMissingError(f"{self.root} has no {name}") from error

    def num_bytes(self, name: str) -> int | None:
        """The size of a file, or None where there is none."""
        try:
            return self.path(name).stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            return None

    def remove(self, name: str) -> None:
        """Remove a file durably, if it is there.

        Raises:
            StoreWriteError: The disk is read-only or failing.
        """
        path = self.path(name)
        try:
            path.unlink()
            _sync_folder(path.parent)  # before what is written next: a power cut must not bring it back
        except FileNotFoundError:
            return
        except OSError as error:
            raise _write_error("remove", name, self.root, error) from error

    def names(self, folder: str) -> Iterator[str]:
        """The names of the files directly in a folder of the store, sorted."""
        path = self.path(folder)
        if path.is_dir():
            yield from sorted(f"{folder}/{entry.name}" for entry in path.iterdir() if entry.is_file())

    def remove_partial_files(self) -> None:
        """Remove what killed runs left half-written, and the folder that held it."""
        for name in self.names(PARTIAL_FOLDER):
            self.remove(name)
        with contextlib.suppress(OSError):  # there is none, or another run is writing
            self.path(PARTIAL_FOLDER).rmdir()


def check_name(kind: str, name: str) -> str:
    """Return a split's, mask set's or feature set's name, or refuse one that could not be a folder everywhere.

    >>> check_name("split", "train")
    'train'
    """
    if not _NAME.fullmatch(name) or name == "zarr.json":
        raise ValueError(
            f"{kind} name {name!r}: use up to 100 letters, digits, '_', '.' and '-', and begin with none of '.' and '-'"
        )
    return name


def _write_through(path: Path, content: bytes | memoryview) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())  # the data before the name: a power cut must not leave a name without its data


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_error(what: str, name: str, root: Path, error: OSError) -> StoreWriteError:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    cause = "no space left on the disk" if full else error.strerror or str(error)
    return StoreWriteError(
        f"cannot {what} {name} in {root}: {cause}. "
        "Nothing half-written was committed: once this is mended, run the same command again"
    )
