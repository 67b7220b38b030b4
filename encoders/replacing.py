"""Files that are there whole or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

PARTIAL = ".{}.partial"
"""The folder beside a file in which it is written: what writes it may leave files of its own when it is killed."""


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path, and move it to `path` at the end, when it is on the disk; on an error, remove it.

    The file has the permissions that the user's files have, whatever those are that it was written with.
    """
    folder = path.with_name(PARTIAL.format(path.name))
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        temporary = folder / path.name
        temporary.touch()
        mode = temporary.stat().st_mode
        yield temporary
        temporary.chmod(mode)
        _sync(temporary)
        temporary.replace(path)
        _sync(path.parent)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _sync(path: Path) -> None:
    """The data before the name, and the name before what comes next: a power cut must not part them."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
