"""How files come onto a local disk: written beside their names, flushed together, then renamed group by group.

A flush waits for the journal of the file system, and then for the disk. Files that are flushed at a time share both, so
that the six of a shard take a third of the time that they take one after the other: see `bench_scale`.
"""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, TypeVar

from store.places.folder import Content
from store.places.plain import OddError, check_folders, plain_size

Item = TypeVar("Item")

FLUSHER = "fda-flush"
"""How the name of a thread begins that flushes."""
_MOST_FLUSHERS = 8
"""A shard of frames with neighbours and masks has seven files."""


class NotWrittenError(Exception):
    """A file could not be written."""

    def __init__(self, name: str, cause: OSError | OddError) -> None:
        super().__init__(name, cause)
        self.name, self.cause = name, cause


@dataclass(slots=True)
class LocalWrite:
    """One call of `StoreFolder.write_in_order`."""

    root: Path
    """Of the store."""
    partial: str
    """The folder of half-written files, relative to `root`."""
    check_claim: Callable[[], None]
    """Raises if another run considers this one dead."""
    _made: dict[str, list[Path]] = field(default_factory=dict)
    """Name of a file -> folders that were made for it. A power cut may lose each of them with everything in it, until
    the folder that it lies in is flushed; also if it was an attempt that failed which made it."""

    def write(self, groups: Sequence[Mapping[str, Content]]) -> None:
        """Write all files, or leave those of the first groups, whole.

        Raises:
            NotWrittenError: The error of a call to the system, with the name of the file.
        """
        halves = {name: f"{self.partial}/{uuid.uuid4().hex}" for group in groups for name in group}
        if not halves:
            return
        with ExitStack() as stack:
            files = {
                name: stack.enter_context(self._half_written(name, halves[name], content))
                for group in groups
                for name, content in group.items()
            }
            # the data before the names: a power cut must not leave a name without its data
            _at_once(lambda name: _finish(files[name]), {name: name for name in files})
            # A run that considers this one dead removes first its claim and then its partial files. So either the claim
            # is missing now, or the partial file is missing at the rename: a dead run never replaces a file.
            self.check_claim()
            for group in filter(None, groups):  # masks of nothing but the fill value are no file
                self._rename(halves, list(group))

    @contextmanager
    def _half_written(self, name: str, half: str, content: Content) -> Iterator[BinaryIO]:
        """The half-written file of a name, with its content, not flushed yet. Removed in the end, unless renamed."""
        path = self.root / half
        with _naming(name):
            self._made.setdefault(name, []).extend(self._make_folders(name))
            with contextlib.suppress(FileNotFoundError):
                plain_size(str(self.root), name)  # a link or a folder of that name is the user's
            self._make_folders(half)
        try:
            with ExitStack() as stack:
                with _naming(name):
                    file = stack.enter_context(path.open("wb"))
                    file.write(content)
                    # From Python to the system, for `_finish` flushes only what the system has.
                    file.flush()
                yield file
        finally:
            with _naming(name):
                path.unlink(missing_ok=True)

    def _rename(self, halves: Mapping[str, str], names: Sequence[str]) -> None:
        """Give files their names, durably."""
        folders: dict[Path, str] = {}
        for name in names:
            with _naming(name):
                target = self.root / name
                (self.root / halves[name]).replace(target)
            for made in (*self._made[name], target):
                folders.setdefault(made.parent, name)
        _at_once(sync_folder, folders)

    def _make_folders(self, name: str) -> list[Path]:
        """Make the folders in which a file lies, and return those that were missing, the outermost first."""
        made = _make_folder(self.root)
        folder = ""
        for part in name.split("/")[:-1]:
            folder = f"{folder}/{part}".lstrip("/")
            try:
                check_folders(str(self.root), folder)
            except FileNotFoundError:
                (self.root / folder).mkdir(exist_ok=True)
                made.append(self.root / folder)
        return made


def _finish(file: BinaryIO) -> None:
    """Make the content of a file durable, and close it: some file systems upload then, and rename no open file."""
    os.fsync(file.fileno())
    file.close()


def sync_folder(path: Path) -> None:
    """Make durable which names are in a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _make_folder(path: Path) -> list[Path]:
    """Make a folder, and return it with the parents that were made too, the outermost first."""
    missing = [path]
    while not missing[-1].is_dir():
        missing.append(missing[-1].parent)
    # All but the last, which exists, the outermost first.
    made = missing[-2::-1]
    for folder in made:
        folder.mkdir(exist_ok=True)
    return made


def _at_once(work: Callable[[Item], None], items: Mapping[Item, str]) -> None:
    """Call `work` on each item, all but the last in other threads.

    Args:
        work: What waits for the disk.
        items: Item -> name of the file, for the error.
    """

    def named(item: Item) -> None:
        with _naming(items[item]):
            work(item)

    *others, last = items
    waiting = [_flushers(os.getpid()).submit(named, item) for item in others]
    try:
        named(last)
    finally:
        # The caller closes the files when this raises: no thread may still flush one then.
        wait(waiting)
    for done in waiting:
        done.result()


@lru_cache(maxsize=1)
def _flushers(process: int) -> ThreadPoolExecutor:
    """The threads that flush, of this process: one that is forked inherits none.

    They are kept: to start one, and to wait until it has begun, takes longer than a flush where the machine is busy.
    """
    return ThreadPoolExecutor(_MOST_FLUSHERS, thread_name_prefix=FLUSHER)


@contextmanager
def _naming(name: str) -> Iterator[None]:
    try:
        yield
    except (OSError, OddError) as error:
        raise NotWrittenError(name, error) from error
