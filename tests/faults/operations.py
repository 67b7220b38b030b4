"""Every call that changes what is below a folder, handed to a policy that may do it, cut it short or make it fail.

The code under test is not touched: the functions of `os` and `io` that it calls are replaced for a while.
That all calls are seen is tested: what was seen, done once more, gives the same files (tests/store/test_power_loss.py).
"""

# ruff: noqa: PTH100, PTH112, PTH115, PTH118, PTH120
# Paths as the system gets them: nothing here may follow a link, or call what is replaced.

from __future__ import annotations

import io
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from unittest import mock

from pipeline.clips.read_ahead import WRITER
from store.places.local_writing import FLUSHER

MKDIR, CREATE, WRITE, SYNC, SYNC_FOLDER = "mkdir", "create", "write", "sync", "sync_folder"
RENAME, UNLINK, RMDIR = "rename", "unlink", "rmdir"


@dataclass(frozen=True, slots=True)
class Operation:
    """One call that changes a file or a folder, or puts it on the disk."""

    kind: str
    path: str
    """Absolute."""
    target: str = ""
    """Of a rename: what the path is called then."""
    content: bytes = b""
    """Of a write."""

    def __str__(self) -> str:
        return f"{self.kind} {self.target or self.path}"


class Policy(Protocol):
    """Decides what becomes of a call."""

    def __call__(self, operation: Operation, do: Callable[[], Any], do_half: Callable[[], None]) -> Any:
        """Return what `do()` returns, or raise; `do_half()` leaves half of what a write writes, else nothing."""


@contextmanager
def operations(root: Path, policy: Policy) -> Iterator[None]:
    """Hand every call that changes something in `root`, or makes `root`, to a policy.

    Those of this thread and of the one that writes behind it, of which only one writes at a time, and of those that
    flush for it; a claim's sign of life comes at any time, and is not counted.
    """
    watch = _Watch(os.path.abspath(root), policy)
    with (
        mock.patch.multiple(
            os,
            mkdir=watch.one_path(MKDIR, os.mkdir, is_needed=lambda path: not os.path.lexists(path)),
            unlink=watch.one_path(UNLINK, os.unlink, is_needed=os.path.lexists),
            rmdir=watch.one_path(RMDIR, os.rmdir, is_needed=os.path.lexists),
            replace=watch.replace(os.replace),
            fsync=watch.fsync(os.fsync),
        ),
        mock.patch.object(io, "open", watch.open(io.open)),
    ):
        yield


class _Watch:
    """Wraps functions."""

    def __init__(self, root: str, policy: Policy) -> None:
        self._root = root
        self._policy = policy
        self._thread = threading.current_thread()
        self._flushing = threading.Lock()

    def one_path(
        self, kind: str, function: Callable[..., None], is_needed: Callable[[str], bool]
    ) -> Callable[..., None]:
        """Wrap a function of one path; a call that changes nothing, as what it makes is there, is passed through."""

        def call(path: str | os.PathLike[str], *args: Any, dir_fd: int | None = None, **kwargs: Any) -> None:
            def do() -> None:
                function(path, *args, dir_fd=dir_fd, **kwargs)

            where = _absolute(path, dir_fd)
            if self._concerns(where) and is_needed(where):
                self._policy(Operation(kind, where), do, _nothing)
            else:
                do()

        return call

    def replace(self, function: Callable[..., None]) -> Callable[..., None]:
        """Wrap `os.replace`."""

        def call(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> None:
            operation = Operation(RENAME, _absolute(source), _absolute(target))
            if self._concerns(operation.target):
                self._policy(operation, lambda: function(source, target), _nothing)
            else:
                function(source, target)

        return call

    def fsync(self, function: Callable[[int], None]) -> Callable[[int], None]:
        """Wrap `os.fsync`."""

        def call(descriptor: int) -> None:
            path = os.readlink(f"/proc/self/fd/{descriptor}")
            operation = Operation(SYNC_FOLDER if os.path.isdir(path) else SYNC, path)
            # the folder that `root` lies in counts as well: it holds the name of `root`
            if self._concerns(path) or path == os.path.dirname(self._root):
                with self._flushing:  # one after the other: a policy counts them
                    self._policy(operation, lambda: function(descriptor), _nothing)
            else:
                function(descriptor)

        return call

    def open(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap `io.open`."""

        def call(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
            where = "" if isinstance(file, int) else _absolute(file)
            if not where or "r" in mode or not self._concerns(where):
                return function(file, mode, *args, **kwargs)
            opened = self._policy(Operation(CREATE, where), lambda: function(file, mode, *args, **kwargs), _nothing)
            return _WatchedFile(opened, where, self._policy)

        return call

    def _concerns(self, path: str) -> bool:
        is_inside = path == self._root or path.startswith(self._root + os.sep)
        thread = threading.current_thread()
        return is_inside and (thread is self._thread or thread.name.startswith((WRITER, FLUSHER)))


class _WatchedFile:
    """A file open for writing; what is written goes to the file at once, so that a kill leaves what it would leave."""

    def __init__(self, file: Any, path: str, policy: Policy) -> None:
        self._file, self._path, self._policy = file, path, policy

    def write(self, content: bytes | memoryview) -> int:
        """Write it all, or what the policy lets through."""
        whole = bytes(content)

        def put(part: bytes) -> int:
            self._file.write(part)
            self._file.flush()
            return len(part)

        written: int = self._policy(
            Operation(WRITE, self._path, content=whole),
            lambda: put(whole),
            lambda: _drop(put(whole[: len(whole) // 2])),
        )
        return written

    def __enter__(self) -> _WatchedFile:
        return self

    def __exit__(self, *args: object) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def _absolute(path: Any, dir_fd: int | None = None) -> str:
    name: str = os.fspath(path)
    if dir_fd is not None:
        return os.path.join(os.readlink(f"/proc/self/fd/{dir_fd}"), name)
    return os.path.abspath(name)


def _nothing() -> None:
    pass


def _drop(_: object) -> None:
    pass
