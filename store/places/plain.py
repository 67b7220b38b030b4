"""What lies at a name of a local folder: a file is a regular file, a folder is a folder, and no link is followed.

Anybody may put anything into a store: a link to a home folder, a FIFO that never ends, a folder where a file should
be. A link that was followed would let a command that cleans up one store remove files of another place. The folder of
the store itself may be a link: its user named it.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from store.errors import StoreReadError, StoreWriteError

FILE, FOLDER = "file", "folder"

_OPEN_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
"""What was looked at may have been replaced since: a link is refused by the system, and to open a FIFO does not wait
for a writer."""

_KINDS = (
    (stat.S_ISREG, "a file"),
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
)


class OddError(Exception):
    """Something else lies where a file or a folder of a store should be."""

    def __init__(self, name: str, found: str, wanted: str) -> None:
        super().__init__(name, found, wanted)
        self.name = name
        """Relative to the store."""
        self.found = found
        """What it is: `a FIFO`."""
        self.wanted = wanted
        """`FILE` or `FOLDER`."""

    def __str__(self) -> str:
        return (
            f"{self.name} is {self.found}, and not the {self.wanted} that should be there. Move it away; then "
            "`fda verify` says what is missing"
        )

    def reading(self, what: str, name: str, place: str) -> StoreReadError:
        """The error of a command that reads."""
        return StoreReadError(f"cannot {what} {name or 'the files'} in {place}: {self}")

    def writing(self, what: str, name: str, place: str) -> StoreWriteError:
        """The error of a command that writes."""
        return StoreWriteError(f"cannot {what} {name} in {place}: {self}")


def kind_of(path: str, mode: int) -> str:
    """What a path is, for messages; `mode` is that of `lstat`."""
    if stat.S_ISLNK(mode):
        return f"a link to {str(Path(path).readlink())!r}, which is not followed"
    return next((kind for is_kind, kind in _KINDS if is_kind(mode)), "a device")


def check_folders(root: str, folder: str) -> None:
    """Check that a folder of a store, and every one above it, is a folder itself; `""` is the store.

    Raises:
        FileNotFoundError: One of them is missing.
        OddError: One is something else.
    """
    name = ""
    for part in folder.split("/") if folder else ():
        name = f"{name}/{part}" if name else part
        # Each folder by itself: `O_NOFOLLOW` refuses a link in the last part of a name only.
        mode = os.lstat(f"{root}/{name}").st_mode
        if not stat.S_ISDIR(mode):
            raise OddError(name, kind_of(f"{root}/{name}", mode), FOLDER)


def plain_size(root: str, name: str) -> int:
    """The size of a file.

    Raises:
        FileNotFoundError: There is none.
        OddError: Something else lies there, or above it.
    """
    check_folders(root, name.rpartition("/")[0])
    found = os.lstat(f"{root}/{name}")
    if not stat.S_ISREG(found.st_mode):
        raise OddError(name, kind_of(f"{root}/{name}", found.st_mode), FILE)
    return found.st_size


def open_plain(root: str, name: str) -> int:
    """Open a file for reading, and return its descriptor; errors are those of `plain_size`, and of `os.open`."""
    plain_size(root, name)
    descriptor = os.open(f"{root}/{name}", _OPEN_FLAGS)
    # Another program may have put something else there since `plain_size` looked.
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        raise OddError(name, kind_of(f"{root}/{name}", mode), FILE)
    return descriptor


class PlainFolder:
    """A folder in which many files are opened: it is looked at once, and the system resolves names from there."""

    def __init__(self, root: str, folder: str) -> None:
        """Open it; errors are those of `check_folders`, and of `os.open`."""
        check_folders(root, folder)
        self._descriptor = os.open(f"{root}/{folder}", os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY)

    def __del__(self) -> None:
        # Python calls this also for an object whose `__init__` raised.
        if hasattr(self, "_descriptor"):
            os.close(self._descriptor)

    def open(self, name: str) -> int | None:
        """Open a file directly in it, and return its descriptor; None where there is no plain file."""
        try:
            descriptor = os.open(name, _OPEN_FLAGS, dir_fd=self._descriptor)
        except OSError:
            return None
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            return descriptor
        os.close(descriptor)
        return None
