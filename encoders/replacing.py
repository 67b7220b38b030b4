"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

PARTIAL = ".{}.partial"
"""Name of the folder beside a file in which it is written. A folder, because a library that is killed while it writes
may leave temporary files of its own."""


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path; at the end, flush that file to disk and move it to `path`. On an error, remove it.

    The file gets the permissions of any new file of the user.
    """
    folder = path.with_name(PARTIAL.format(path.name))
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        temporary = folder / path.name
        temporary.touch()
        # safetensors replaces the file by one that only its owner may read (0600).
        mode = temporary.stat().st_mode
        yield temporary
        temporary.chmod(mode)
        # The data before the name, and the name before the caller's next file: a power cut must not leave a name
        # without its data, nor a later file without this one.
        _sync(temporary)
        temporary.replace(path)
        _sync(path.parent)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _sync(path: Path) -> None:
    """Flush a file or a folder to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
