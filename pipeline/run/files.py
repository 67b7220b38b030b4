"""Files and folders that a command writes beside a store."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path

from pipeline.errors import InputError
from store.store import MANIFEST_NAME

LOCK_FILE = ".lock"
"""In a folder that one run at a time may write."""


def check_writable(path: Path, *stores: str | PathLike[str], overwrite: bool = False) -> None:
    """Refuse a file that exists, or lies in a store, or whose folder is missing or read-only.

    Call it before the work, not after hours.

    Args:
        path: Of the file.
        stores: Places of those that are read.
        overwrite: Whether the file may exist.

    Raises:
        FileExistsError: The file exists, and `overwrite` is false.
        FileNotFoundError: There is no such folder.
        PermissionError: Nothing can be written there.
        InputError: The file would lie in one of the stores.
    """
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {path.parent} for {path.name}: make it, or give another place")
    for place in stores:
        if is_in_store(path, os.fspath(place)):
            raise InputError(f"{path} would lie in the store {place}, which has its own files only: give another place")
    if not os.access(path.parent, os.W_OK):
        raise PermissionError(f"cannot write {path.name} into {path.parent}: it is read-only, give another place")
    if path.is_dir() or (path.exists() and not overwrite):
        raise FileExistsError(f"{path} exists already: give another name, or --overwrite to replace it")


def is_in_store(path: Path, place: str) -> bool:
    """Whether something would be in the folder of a store on this disk; what is no store is refused by others."""
    if "://" in place or not Path(place, MANIFEST_NAME).is_file():
        return False
    return path.resolve().is_relative_to(Path(place).resolve())


@contextmanager
def locked_folder(folder: Path, busy: Exception) -> Iterator[None]:
    """Make a folder if needed, and lock it against other runs; the system frees the lock with the process.

    Args:
        folder: On this machine; the lock is a file in it.
        busy: What is raised if another run has the lock.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK_FILE).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise busy from error
        yield
