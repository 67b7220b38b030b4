"""Where an export may be, and how a complete one gets there: whole or not at all.

It is made in a folder beside OUT, which is renamed. So whoever opens OUT sees a whole export or none, whenever the
process is killed. An export lists its files; with that, `--overwrite` knows its own from those of others.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from pipeline.errors import InputError, OptionError, PipelineError
from pipeline.exporting.destination import FILES_FILE, RECORD_FILE, RECORD_KIND, Destination
from pipeline.run.fields import local_path
from store.errors import StoreError
from store.places.local_writing import sync_folder
from store.remedies import RUN_AGAIN

PARTIAL = ".{}.partial"
"""Name of the folder beside OUT in which an export is made. The next export to OUT removes what a killed one left."""
REPLACED = ".{}.replaced"
"""Name that an export which is replaced has until its files are removed."""


class ExportBusyError(PipelineError, RuntimeError):
    """Another export is writing to the same folder."""


class ExportWriteError(PipelineError, OSError):
    """A file could not be written: the disk is full, read-only or failing."""


def check_out(out: str | os.PathLike[str], store: str) -> Path:
    """The folder that an export is to make, if it can be there.

    Args:
        out: As its user gave it.
        store: The place of the store.

    Raises:
        OptionError: It is an address, or the store, or in the store, or the store is in it.
    """
    given = os.fspath(out)
    if "\0" in given:
        raise OptionError(f"OUT must be a folder, got {given!r}")
    path = local_path(given).resolve()
    if not path.name:
        raise OptionError(f"OUT must be a folder of its own, got {given!r}")
    if "://" not in store:
        its = Path(store).resolve()
        if path == its or its in path.parents or path in its.parents:
            how = "is" if path == its else "lies in" if its in path.parents else "contains"
            raise OptionError(f"OUT ({path}) {how} STORE ({its}): give a folder beside it")
    return path


@contextmanager
def exporting_to(out: Path, *, overwrite: bool) -> Iterator[Destination]:
    """A folder to export into, which becomes `out` at the end of the block; on an error, nothing of it is left.

    Raises:
        InputError: There is something else at `out`, or an export and not `overwrite`.
        ExportBusyError: Another export to `out` is running.
        ExportWriteError: The disk is full, read-only or failing. `out` is as it was.
    """
    with _write_errors(out), ExitStack() as stack:
        out.parent.mkdir(parents=True, exist_ok=True)
        folder = stack.enter_context(_claimed(out))
        check_free(out, overwrite=overwrite)
        destination = Destination(folder)
        stack.callback(destination.close)
        yield destination
        check_free(out, overwrite=overwrite)  # again: others may have written there meanwhile
        _move(folder, out)


@contextmanager
def _write_errors(out: Path) -> Iterator[None]:
    """Turn what the disk says into an error with a remedy; the store's errors say what they are."""
    try:
        yield
    except (StoreError, PipelineError):
        raise
    except OSError as error:
        is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        cause = "no space left on the disk" if is_full else error.strerror or str(error)
        raise ExportWriteError(
            f"cannot write to {out}: {cause}. Nothing half-written is left there: once this is fixed, {RUN_AGAIN}"
        ) from error


def check_free(out: Path, *, overwrite: bool) -> None:
    """Refuse a place where something else is than an export to be replaced; errors are those of `exporting_to`."""
    with _write_errors(out):
        _check_free(out, overwrite=overwrite)


def _check_free(out: Path, *, overwrite: bool) -> None:
    if not os.path.lexists(out):
        return
    if not out.is_dir():
        raise InputError(f"{out} is a file: give a folder that is not there yet")
    if out.is_mount():
        raise InputError(f"{out} is where a disk is mounted: give a folder in it")
    first = min((path.name for path in out.iterdir()), default=None)
    if first is None:
        return
    if not overwrite:
        is_export = is_exported(out)
        remedy = "--overwrite replaces it" if is_export else f"it contains {first!r}"
        kind = "an export" if is_export else "not empty"
        raise InputError(f"{out} is {kind} ({remedy}): give a folder that is not there yet")
    foreign = _foreign(out)
    if foreign is not None:
        raise InputError(
            f"{out} contains {foreign!r}, which `fda export` did not write, so nothing is removed: move it away, or "
            "give another folder"
        )


def is_exported(folder: Path) -> bool:
    """Whether a folder is what an export made."""
    try:
        record = json.loads((folder / RECORD_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(record, dict) and record.get("kind") == RECORD_KIND


def _foreign(folder: Path) -> str | None:
    """Something in an export that it did not write; None if there is nothing."""
    if not is_exported(folder):
        return min((path.name for path in folder.iterdir()), default=None)
    try:
        own = set((folder / FILES_FILE).read_text(encoding="utf-8").splitlines())
    except (OSError, ValueError):
        return FILES_FILE
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(parent) / name
            mode = path.lstat().st_mode
            its = path.relative_to(folder).as_posix()
            if not (stat.S_ISDIR(mode) or (stat.S_ISREG(mode) and its in own)):
                return its
    return None


@contextmanager
def _claimed(out: Path) -> Iterator[Path]:
    """The folder beside `out` in which it is made: empty, and of this process alone; removed at the end."""
    folder = out.with_name(PARTIAL.format(out.name))
    if folder.is_symlink():
        raise InputError(f"{folder} is a link, and an export to {out.name!r} is made there: move it away")
    folder.mkdir(exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            # A lock on the folder itself: the system frees it with the process, however that ends.
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise _busy(out) from error
        if not _is_same(descriptor, folder):  # the other one has just ended
            raise _busy(out)
        # Before `out` is looked at: it may be missing only because a killed export had moved it aside.
        _put_back(out)
        _empty(folder, out)
        try:
            yield folder
        finally:
            # After the move there is nothing of this name, or already what the next export makes.
            if _is_same(descriptor, folder):
                shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(descriptor)


def _empty(folder: Path, out: Path) -> None:
    """Remove what an export that was killed left in its folder; `Destination` writes its list of files first.

    Raises:
        InputError: Nobody knows whose the folder is.
    """
    found = sorted(folder.iterdir(), key=lambda path: (path.name == FILES_FILE, path.name))  # its list goes last
    if found and not (folder / FILES_FILE).is_file():
        raise InputError(
            f"{folder}, where an export to {out.name!r} is made, contains {found[0].name!r}, which `fda export` did "
            "not write, so nothing is removed: move it away, or give another folder"
        )
    for path in found:
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def _is_same(descriptor: int, folder: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), folder.lstat())
    except FileNotFoundError:
        return False


def _busy(out: Path) -> ExportBusyError:
    return ExportBusyError(f"another export to {out} is running: wait for it, or give another folder")


def _move(folder: Path, out: Path) -> None:
    """Put a complete export in its place."""
    if out.is_dir() and any(out.iterdir()):
        replaced = out.with_name(REPLACED.format(out.name))
        # A folder cannot be renamed over one that is not empty. Killed between the two renames, nothing is at `out`:
        # `_put_back` of the next export ends this.
        out.rename(replaced)
        folder.rename(out)
        _remove_export(replaced)
    else:
        folder.rename(out)  # over an empty folder, if there is one
    sync_folder(out.parent)  # a rename is on the disk when its folder is


def _put_back(out: Path) -> None:
    """End what an export that was killed in the middle of `_move` began: back to the old one, or away with it."""
    replaced = out.with_name(REPLACED.format(out.name))
    if not is_exported(replaced):
        return
    if os.path.lexists(out):
        _remove_export(replaced)
    else:
        replaced.rename(out)


def _remove_export(folder: Path) -> None:
    """Remove the files that an export wrote, and the folders that are empty then."""
    names = {*(folder / FILES_FILE).read_text(encoding="utf-8").splitlines(), FILES_FILE}
    for parent, _, files in os.walk(folder):
        # Of what is there, and not of what is listed: anybody may have written a list, with names of other places.
        for path in (Path(parent) / name for name in files):
            if path.relative_to(folder).as_posix() in names:
                path.unlink()
    for parent, _, _ in os.walk(folder, topdown=False):
        with suppress(OSError):  # something is in it
            Path(parent).rmdir()
