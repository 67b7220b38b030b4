"""The files of an export while it is made.

`fda-export.json` says what an export is, and `fda-export-files.txt` which files it wrote.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from pipeline.errors import InputError
from store.json_values import JSON
from store.places.local_writing import sync_folder

if TYPE_CHECKING:
    from typing_extensions import Buffer  # of collections.abc from Python 3.12 on

RECORD_FILE = "fda-export.json"
FILES_FILE = "fda-export-files.txt"
RECORD_KIND = "fda export"
SCRATCH_FOLDER = ".scratch"
_MAX_SYNCED = 1_000
"""Files that are flushed one by one. To flush a file takes a millisecond or more: beyond so many, all at once."""
_FLUSHED_BYTES = 2**23
"""After so many, a file is flushed while it is written on, so that little is left to wait for at its end."""
_MIN_ASIDE = 2**16
"""Bytes that are hashed by another thread: fewer take less time than to hand them over."""


class NewFile(io.RawIOBase):
    """A file that is being written from its beginning to its end. To close it does nothing: `Destination` does."""

    def __init__(self, file: BinaryIO, aside: Executor, *, hashed: bool) -> None:
        self._file, self._aside = file, aside
        self._digest = hashlib.sha256() if hashed else None
        self.num_bytes = 0
        self._hashing: Future[None] | None = None
        self._flushing: Future[None] | None = None
        self._num_unflushed = 0

    def writable(self) -> bool:
        """True."""
        return True

    def write(self, content: Buffer) -> int:
        """Append to it."""
        self._file.write(content)
        size = memoryview(content).nbytes
        self.num_bytes += size
        if self._digest is not None:
            _result_of(self._hashing)
            # The part before is in the digest by now: parts must go into it in order, whoever does it.
            if size < _MIN_ASIDE:
                self._digest.update(content)
            else:
                # A copy, as the caller may change its buffer as soon as this returns.
                self._hashing = self._aside.submit(self._digest.update, bytes(content))
        self._num_unflushed += size
        if self._num_unflushed >= _FLUSHED_BYTES and (self._flushing is None or self._flushing.done()):
            _result_of(self._flushing)
            self._file.flush()
            self._flushing, self._num_unflushed = self._aside.submit(os.fsync, self._file.fileno()), 0
        return size

    def wait(self) -> None:
        """Wait for what is done aside, and raise its error."""
        _result_of(self._hashing)
        _result_of(self._flushing)

    def tell(self) -> int:
        """Bytes written."""
        return self.num_bytes

    def rewrite_start(self, content: bytes) -> None:
        """Replace its first bytes, of a file whose sha256 is not asked for."""
        self._file.seek(0)
        self._file.write(content)
        self._file.seek(0, os.SEEK_END)

    @property
    def sha256(self) -> str:
        """Of what was written.

        Raises:
            ValueError: It was not asked for.
        """
        if self._digest is None:
            raise ValueError("the sha256 of a file must be asked for before it is written")
        _result_of(self._hashing)
        return self._digest.hexdigest()


def _result_of(future: Future[None] | None) -> None:
    if future is not None:
        future.result()


class Destination:
    """The folder in which an export is made, until it is moved to its place."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        """Where it is made."""
        self.open = ExitStack()
        """The files that are being written, for a writer of several at a time."""
        self.num_files = 0
        self.num_bytes = 0
        self._names = (folder / FILES_FILE).open("w", encoding="utf-8")
        self._aside = ThreadPoolExecutor(2, thread_name_prefix="fda-export")

    @contextmanager
    def file(self, name: str, *, hashed: bool = False) -> Iterator[NewFile]:
        """A new file, which is on the disk at the end of the block; its folders are made.

        Args:
            name: Relative to OUT, with forward slashes.
            hashed: Whether its sha256 is wanted.

        Raises:
            InputError: The file system takes it for another one, as those that ignore case do.
        """
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            # x: never over a file, which two ids may share on a disk that ignores case.
            opened = path.open("xb")
        except FileExistsError as error:
            raise InputError(
                f"{name} is there already: this file system does not tell capital letters from others, or treats two "
                "scripts of one letter alike, and there are ids that differ in nothing else. Export to another disk"
            ) from error
        with opened:
            new = NewFile(opened, self._aside, hashed=hashed)
            try:
                yield new
            finally:
                new.wait()
            opened.flush()
            self._count(name, opened)

    def write(self, name: str, content: bytes) -> None:
        """Write a small file."""
        with self.file(name) as new:
            new.write(content)

    @contextmanager
    def by_library(self, name: str) -> Iterator[Path]:
        """The path of a file that a library writes in the block."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        yield path
        with path.open("rb") as written:
            self._count(name, written)

    @contextmanager
    def by_library_in(self, name: str) -> Iterator[Path]:
        """The path of a folder that a library writes in the block."""
        path = self.folder / name
        path.mkdir(parents=True)
        yield path
        for found in sorted(path.rglob("*")):
            if found.is_file():
                with found.open("rb") as written:
                    self._count(found.relative_to(self.folder).as_posix(), written)

    @contextmanager
    def scratch(self, name: str, *, hashed: bool = False) -> Iterator[NewFile]:
        """A file that is not a part of the export; `remove_scratch` removes it."""
        path = self.scratch_path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as opened:
            new = NewFile(opened, self._aside, hashed=hashed)
            try:
                yield new
            finally:
                new.wait()

    def scratch_path(self, name: str) -> Path:
        """Where a file of `scratch` lies."""
        return self.folder / SCRATCH_FOLDER / name

    def remove_scratch(self) -> None:
        """Remove what `scratch` made."""
        shutil.rmtree(self.folder / SCRATCH_FOLDER)

    def _count(self, name: str, file: BinaryIO) -> None:
        """Count a file that is complete, and flush it to the disk."""
        if self.num_files < _MAX_SYNCED:
            os.fsync(file.fileno())
        self.num_files += 1
        self.num_bytes += os.fstat(file.fileno()).st_size
        self._names.write(name + "\n")

    def finish(self, record: Mapping[str, JSON]) -> None:
        """Write what this is; nothing is added after that."""
        self.write(RECORD_FILE, (json.dumps({"kind": RECORD_KIND, **record}, indent=2) + "\n").encode())
        # The list names itself last. Both are on the disk before the folder is moved: what it lists can then be
        # removed.
        self._names.write(FILES_FILE + "\n")
        self._names.flush()
        os.fsync(self._names.fileno())
        if self.num_files > _MAX_SYNCED:
            os.sync()
        self.close()
        for folder, _, _ in os.walk(self.folder):
            sync_folder(Path(folder))

    def close(self) -> None:
        """Let go of the list of files, and of threads."""
        self._aside.shutdown()
        self._names.close()
