"""A store on a local or mounted disk: files are written by rename, and are on the disk before they count."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from zarr.storage import LocalStore

from store.errors import ClaimLostError, StoreMissingError, StorePlaceError, StoreWriteError
from store.places.folder import CLAIMS_FOLDER, PARTIAL_FOLDER, UNCLAIMED, StoredFile, StoreFolder, WrittenFile
from store.remedies import RETRY_WRITE

MAX_TRIES = 100
"""Attempts to write a file. One can fail only because another run began or ended at that moment."""


@dataclass(frozen=True, slots=True)
class LocalFolder(StoreFolder):
    """A folder of a file system whose rename is atomic."""

    root: Path
    """Absolute."""
    claim: str | None = None

    @classmethod
    def at(cls, place: str | os.PathLike[str]) -> Self:
        """The folder at a path, which need not exist yet.

        Raises:
            StorePlaceError: It is a file.
        """
        path = Path(place).absolute()
        if path.exists() and not path.is_dir():
            raise StorePlaceError(f"{os.fspath(place)!r} is a file, not a folder: a store is a folder")
        return cls(path)

    @property
    def place(self) -> str:
        """Its path."""
        return str(self.root)

    @property
    def is_local(self) -> bool:
        """See `StoreFolder`."""
        return True

    def claimed_by(self, claim: str | None) -> LocalFolder:
        """See `StoreFolder`."""
        return replace(self, claim=claim)

    def path(self, name: str) -> Path:
        """The path of the file `name`."""
        return self.root / name

    def write(self, name: str, content: bytes | memoryview) -> WrittenFile:
        """See `StoreFolder`."""
        self._check_claim()
        target, partial = self.path(name), self.path(PARTIAL_FOLDER) / (self.claim or UNCLAIMED) / uuid.uuid4().hex
        for tries_left in reversed(range(MAX_TRIES)):
            try:
                _replace(target, partial, content, self._check_claim)
                break
            except OSError as error:
                # Another run has just begun or ended, and removed the folder of partial files as a leftover: try again.
                is_swept = isinstance(error, FileNotFoundError | FileExistsError)
                if not (is_swept and tries_left):
                    raise _write_error("write", name, self.root, error) from error
        return WrittenFile.of(name, content)

    def read(self, name: str) -> bytes:
        """See `StoreFolder`."""
        try:
            return self.path(name).read_bytes()
        except (FileNotFoundError, NotADirectoryError) as error:
            raise StoreMissingError(f"{self.root} has no {name}") from error

    def open(self, name: str) -> LocalFile | None:
        """See `StoreFolder`."""
        try:
            return LocalFile(self.path(name))
        except (FileNotFoundError, NotADirectoryError):
            return None

    def num_bytes(self, name: str) -> int | None:
        """See `StoreFolder`."""
        try:
            return self.path(name).stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            return None

    def remove(self, name: str) -> None:
        """See `StoreFolder`."""
        self._check_claim()
        path = self.path(name)
        try:
            path.unlink()
            _sync_folder(path.parent)  # before the next write: a power cut must not bring the file back
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise _write_error("remove", name, self.root, error) from error

    def remove_tree(self, folder: str) -> None:
        """See `StoreFolder`."""
        self._check_claim()
        path = self.path(folder)
        try:
            if path.is_dir():
                shutil.rmtree(path)
                _sync_folder(path.parent)
        except FileNotFoundError:  # another run is removing the same leftovers
            return
        except OSError as error:
            raise _write_error("remove", folder, self.root, error) from error

    def names(self, folder: str) -> list[str]:
        """See `StoreFolder`."""
        return [name for name, entry in self._entries(folder) if entry.is_file()]

    def folders(self, folder: str) -> list[str]:
        """See `StoreFolder`."""
        return [name for name, entry in self._entries(folder) if entry.is_dir()]

    def walk(self, folder: str = "") -> Iterator[StoredFile]:
        """See `StoreFolder`."""
        for name, entry in self._entries(folder):
            if entry.is_dir(follow_symlinks=False):
                yield from self.walk(name)
            else:
                with contextlib.suppress(FileNotFoundError):  # another run has just removed it
                    yield StoredFile(name, entry.stat().st_size)

    def zarr_store(self, name: str) -> LocalStore:
        """See `StoreFolder`."""
        return LocalStore(self.path(name), read_only=True)

    def remove_partial_files(self) -> None:
        """See `StoreFolder`."""
        for name in self.names(PARTIAL_FOLDER):
            self.remove(name)
        folders = self.folders(PARTIAL_FOLDER)
        # Claims are listed after the folders: a run writes its claim first, so a folder in the list of a live run has
        # its claim in this list.
        claims = [name for name in self.names(CLAIMS_FOLDER) if name.endswith(".json")]
        for folder in folders:
            claim = folder.rsplit("/", 1)[1]
            is_live = bool(claims) if claim == UNCLAIMED else f"{CLAIMS_FOLDER}/{claim}.json" in claims
            if not is_live:
                for name in self.names(folder):
                    self.remove(name)
                with contextlib.suppress(OSError):  # a run considered dead begins to write, and will find no claim
                    self.path(folder).rmdir()
        with contextlib.suppress(OSError):  # there is no such folder, or another run is writing
            self.path(PARTIAL_FOLDER).rmdir()

    def _entries(self, folder: str) -> list[tuple[str, os.DirEntry[str]]]:
        """Names in the store and entries of what is directly in a folder, sorted."""
        try:
            with os.scandir(self.path(folder)) as entries:
                return sorted((f"{folder}/{entry.name}".lstrip("/"), entry) for entry in entries)
        except (FileNotFoundError, NotADirectoryError):
            return []

    def _check_claim(self) -> None:
        # Opened, and not only looked up: on a mounted disk, opening asks the server, and attributes may be a minute
        # old.
        if self.claim is not None and self.open(f"{CLAIMS_FOLDER}/{self.claim}.json") is None:
            raise ClaimLostError.of(self.place)


class LocalFile:
    """A file open for reading."""

    def __init__(self, path: Path) -> None:
        """Open it.

        Raises:
            FileNotFoundError: There is none.
        """
        self._descriptor = os.open(path, os.O_RDONLY)

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):  # it is missing if the file could not be opened
            os.close(self._descriptor)

    @property
    def num_bytes(self) -> int:
        """Its size."""
        return os.fstat(self._descriptor).st_size

    def fill(self, offset: int, buffers: Sequence[NDArray[np.uint8]]) -> bool:
        """See `OpenFile`."""
        missing = sum(map(len, buffers))
        while missing:
            # one call reads at most 2 GiB
            num_read = os.preadv(self._descriptor, [part.data for part in buffers], offset)
            if num_read == 0:
                return False
            missing -= num_read
            offset += num_read
            buffers = _after(buffers, num_read) if missing else []
        return True


def _after(buffers: Sequence[NDArray[np.uint8]], num_done: int) -> list[NDArray[np.uint8]]:
    """The rest of buffers whose first `num_done` bytes are filled.

    >>> [len(part) for part in _after([np.zeros(5, np.uint8), np.zeros(4, np.uint8)], 7)]
    [2]
    """
    left = []
    for buffer in buffers:
        if num_done < len(buffer):
            left.append(buffer[num_done:])
        num_done = max(0, num_done - len(buffer))
    return left


def _replace(target: Path, partial: Path, content: bytes | memoryview, check_claim: Callable[[], None]) -> None:
    try:
        made = _make_folder(target.parent)
        partial.parent.mkdir(parents=True, exist_ok=True)
        _write_through(partial, content)
        # A run that considers this one dead removes first its claim and then its partial files. So either the claim is
        # missing now, or the partial file is missing at the rename: a dead run never replaces a file.
        check_claim()
        partial.replace(target)
        for folder in made:  # after the rename: one commit of the journal has them all, and only the first sync waits
            _sync_folder(folder.parent)
        _sync_folder(target.parent)
    finally:
        partial.unlink(missing_ok=True)


def _make_folder(path: Path) -> list[Path]:
    """Make a folder, and return it with the parents that were made too, the outermost first.

    A power cut may lose each of them with everything in it, until its parent is synced.
    """
    missing = [path]
    while not missing[-1].is_dir():
        missing.append(missing[-1].parent)
    made = missing[-2::-1]
    for folder in made:
        folder.mkdir(exist_ok=True)
    return made


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
    return StoreWriteError(f"cannot {what} {name} in {root}: {cause}. {RETRY_WRITE}")
