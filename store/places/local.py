"""A store on a local or mounted disk: files are written by rename, and are on the disk before they count."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from store.errors import ClaimLostError, StoreMissingError, StorePlaceError, StoreReadError, StoreWriteError
from store.places.folder import (
    CLAIMS_FOLDER,
    PARTIAL_FOLDER,
    UNCLAIMED,
    Content,
    Scan,
    StoredFile,
    StoreFolder,
    WrittenFile,
)
from store.places.local_writing import LocalWrite, NotWrittenError, sync_folder
from store.places.plain import OddError, PlainFolder, check_folders, kind_of, open_plain, plain_size
from store.remedies import RETRY_WRITE, RUN_AGAIN

MAX_TRIES = 100
"""Attempts to write a file. One can fail only because another run began or ended at that moment."""

_OWN_PARTIAL = re.compile(r"[0-9a-f]{32}")
"""Name of a half-written file, which is never used twice, and of the folder of a claim. All else is not ours."""


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
            StorePlaceError: It is a file, or a link to nothing.
        """
        path = Path(place).absolute()
        if path.is_symlink() and not path.exists():
            raise StorePlaceError(f"{os.fspath(place)!r} is a link to {str(path.readlink())!r}, which is not there")
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

    def write(self, name: str, content: Content) -> WrittenFile:
        """See `StoreFolder`."""
        self.write_in_order([{name: content}])
        return WrittenFile.of(name, content)

    def write_in_order(self, groups: Sequence[Mapping[str, Content]]) -> None:
        """See `StoreFolder`."""
        self._check_claim()
        writing = LocalWrite(self.root, f"{PARTIAL_FOLDER}/{self.claim or UNCLAIMED}", self._check_claim)
        for tries_left in reversed(range(MAX_TRIES)):
            try:
                writing.write(groups)
                return
            except NotWrittenError as error:
                if isinstance(error.cause, OddError):
                    raise error.cause.writing("write", error.name, self.place) from error.cause
                # Another run has just begun or ended, and removed the folder of partial files as a leftover: try again.
                is_swept = isinstance(error.cause, FileNotFoundError | FileExistsError)
                if not (is_swept and tries_left):
                    raise _write_error("write", error.name, self.root, error.cause) from error.cause

    def read(self, name: str) -> bytes:
        """See `StoreFolder`."""
        with self._reading("read", name):
            try:
                with os.fdopen(open_plain(self.place, name), "rb") as file:
                    return file.read()
            except FileNotFoundError as error:
                raise StoreMissingError(f"{self.root} has no {name}") from error

    def open(self, name: str) -> LocalFile | None:
        """See `StoreFolder`."""
        with self._reading("read", name):
            try:
                return LocalFile(open_plain(self.place, name))
            except FileNotFoundError:
                return None

    def opener(self, folder: str) -> Callable[[str], LocalFile | None]:
        """See `StoreFolder`."""
        try:
            opened = PlainFolder(self.place, folder)
        # The folder may be missing, or not a folder. Nothing is reported before a file of it is asked for: `open` gives
        # None for the one and raises for the other.
        except (OSError, OddError):
            return lambda name: self.open(f"{folder}/{name}")  # which says what is wrong

        def open_in(name: str) -> LocalFile | None:
            descriptor = opened.open(name)
            return self.open(f"{folder}/{name}") if descriptor is None else LocalFile(descriptor)

        return open_in

    def num_bytes(self, name: str) -> int | None:
        """See `StoreFolder`."""
        with self._reading("look for", name):
            try:
                return plain_size(self.place, name)
            except FileNotFoundError:
                return None

    def remove(self, name: str) -> None:
        """See `StoreFolder`."""
        if self._unlink(name):
            self._sync([name])  # before the next write: a power cut must not bring the file back

    def remove_files(self, names: Sequence[str]) -> None:
        """See `StoreFolder`."""
        removed = [name for name in names if self._unlink(name)]
        self._sync(removed)
        # The longest name first: a folder is empty only after those in it have gone.
        for folder in sorted({name.rpartition("/")[0] for name in names}, key=len, reverse=True):
            self._prune(folder)

    def names(self, folder: str) -> list[str]:
        """See `StoreFolder`."""
        return [name for name, entry in self._entries(folder) if entry.is_file(follow_symlinks=False)]

    def folders(self, folder: str) -> list[str]:
        """See `StoreFolder`."""
        return [name for name, entry in self._entries(folder) if entry.is_dir(follow_symlinks=False)]

    def walk(self, folder: str = "") -> Iterator[StoredFile]:
        """See `StoreFolder`. Entry by entry: a list of those of a million files takes half a gigabyte."""
        folders = []
        with self._reading("list", folder):
            try:
                check_folders(self.place, folder)
                entries = os.scandir(self.path(folder))
            except FileNotFoundError:
                return
            with entries:
                for entry in entries:
                    name = f"{folder}/{entry.name}".lstrip("/")
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(name)
                    elif entry.is_file(follow_symlinks=False):
                        with contextlib.suppress(FileNotFoundError):  # another run has just removed it
                            num_bytes = entry.stat(follow_symlinks=False).st_size
                            yield StoredFile(name, num_bytes)
        for name in sorted(folders):
            yield from self.walk(name)

    def scan(self, folder: str = "") -> Scan:
        """See `StoreFolder`."""
        files: dict[str, int] = {}
        odd: dict[str, str] = {}
        folders: list[str] = []
        waiting = [folder]
        while waiting:
            try:
                entries = self._entries(waiting.pop())
            except StoreReadError as error:
                # What is odd goes into the scan; a disk that fails ends it.
                if not isinstance(error.__cause__, OddError):
                    raise
                odd[error.__cause__.name] = error.__cause__.found
                continue
            for name, entry in entries:
                with contextlib.suppress(FileNotFoundError):  # another run has just removed it
                    found = entry.stat(follow_symlinks=False)
                    is_folder = stat.S_ISDIR(found.st_mode)
                    if not (is_folder or stat.S_ISREG(found.st_mode)):
                        odd[name] = kind_of(entry.path, found.st_mode)
                    elif not os.access(entry.path, os.R_OK | (os.X_OK if is_folder else 0)):
                        odd[name] = f"a {'folder' if is_folder else 'file'} that this user may not read"
                    elif is_folder:
                        folders.append(name)
                        waiting.append(name)
                    else:
                        files[name] = found.st_size
        return Scan(files, tuple(folders), odd)

    def entries(self, folder: str = "") -> list[str]:
        """See `StoreFolder`."""
        return [name for name, _ in self._entries(folder)]

    def remove_partial_files(self) -> list[str]:
        """See `StoreFolder`."""
        if not self._is_folder(PARTIAL_FOLDER):
            return []  # there is none, or it is something of the user's: to write would fail, and say so
        folders = [folder for folder in self.folders(PARTIAL_FOLDER) if _is_ours(folder)]
        # Claims are listed after the folders: a run writes its claim first, so a folder in the list of a live run has
        # its claim in this list.
        claims = [name for name in self.names(CLAIMS_FOLDER) if name.endswith(".json")]
        removed = []
        for folder in folders:
            claim = folder.rsplit("/", 1)[1]
            # Nothing says whether a writer without a claim still lives. Most such files are claims of runs that ask, so
            # they are left alone while any run has a claim.
            is_live = bool(claims) if claim == UNCLAIMED else f"{CLAIMS_FOLDER}/{claim}.json" in claims
            if not is_live:
                removed += [name for name in self.names(folder) if _is_ours(name) and self._unlink(name)]
                # One is enough: all are in the same folder.
                self._sync(removed[-1:])
                self._prune(folder)  # it stays if a run considered dead begins to write, and will find no claim
        self._prune(PARTIAL_FOLDER)
        return removed

    def _entries(self, folder: str) -> list[tuple[str, os.DirEntry[str]]]:
        """Names in the store and entries of what is directly in a folder, sorted."""
        with self._reading("list", folder):
            try:
                check_folders(self.place, folder)
                with os.scandir(self.path(folder)) as entries:
                    return sorted((f"{folder}/{entry.name}".lstrip("/"), entry) for entry in entries)
            except FileNotFoundError:
                return []

    @contextlib.contextmanager
    def _reading(self, what: str, name: str) -> Iterator[None]:
        """Turn errors into those of `StoreFolder`."""
        try:
            yield
        except OddError as odd:
            raise odd.reading(what, name, self.place) from odd
        except PermissionError as error:
            raise StoreReadError(
                f"cannot {what} {name or 'the files'} in {self.root}: this user may not. Change the permissions, or "
                "run as its owner"
            ) from error
        # It is a FileNotFoundError too, which the next clause would turn into another error.
        except StoreMissingError:
            raise
        except OSError as error:
            cause = error.strerror or str(error)
            raise StoreReadError(
                f"cannot {what} {name or 'the files'} in {self.root}: {cause}. {RUN_AGAIN.capitalize()}"
            ) from error

    def _is_folder(self, name: str) -> bool:
        try:
            check_folders(self.place, name)
        except (FileNotFoundError, OddError):
            return False
        return True

    def _unlink(self, name: str) -> bool:
        """Remove a file, and nothing that is no file; returns whether there was one."""
        self._check_claim()
        try:
            plain_size(self.place, name)
            self.path(name).unlink()
        except FileNotFoundError:
            return False
        except OddError as odd:
            raise odd.writing("remove", name, self.place) from odd
        except OSError as error:
            raise _write_error("remove", name, self.root, error) from error
        return True

    def _sync(self, names: Sequence[str]) -> None:
        """Make it durable that files were removed."""
        for folder in dict.fromkeys(name.rpartition("/")[0] for name in names):
            try:
                sync_folder(self.path(folder))
            except FileNotFoundError:  # another run is removing the same leftovers
                continue
            except OSError as error:
                raise _write_error("remove", folder, self.root, error) from error

    def _prune(self, folder: str) -> None:
        """Remove a folder of the store if it is empty, and then those above it."""
        while folder and self._is_folder(folder):
            try:
                # It refuses a folder with something in it, in one step: what another run writes into it now is never
                # lost.
                self.path(folder).rmdir()
            except OSError:  # something is in it
                return
            folder = folder.rpartition("/")[0]

    def _check_claim(self) -> None:
        # Opened, and not only looked up: on a mounted disk, opening asks the server, and attributes may be a minute
        # old.
        if self.claim is not None and self.open(f"{CLAIMS_FOLDER}/{self.claim}.json") is None:
            raise ClaimLostError.of(self.place)


class LocalFile:
    """A file open for reading."""

    def __init__(self, descriptor: int) -> None:
        """Take over the descriptor of an open file, which no one writes any more."""
        self._descriptor = descriptor
        self.num_bytes = os.fstat(descriptor).st_size

    def __del__(self) -> None:
        os.close(self._descriptor)

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

    def stamp(self) -> tuple[int, ...] | None:
        """See `OpenFile`. A mounted disk may say a minute late what another machine wrote."""
        found = os.fstat(self._descriptor)
        # The last one because a program can set the time of modification back, and not that of the last change.
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


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


def _is_ours(name: str) -> bool:
    """Whether a name below the folder of partial files is one that a run gave.

    >>> _is_ours("partial/unclaimed"), _is_ours(f"partial/{32 * '0'}/{32 * 'f'}"), _is_ours("partial/notes.txt")
    (True, True, False)
    """
    return all(part == UNCLAIMED or _OWN_PARTIAL.fullmatch(part) for part in name.split("/")[1:])


def _write_error(what: str, name: str, root: Path, error: OSError) -> StoreWriteError:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    cause = "no space left on the disk" if full else error.strerror or str(error)
    return StoreWriteError(f"cannot {what} {name} in {root}: {cause}. {RETRY_WRITE}")
