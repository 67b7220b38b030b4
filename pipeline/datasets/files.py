"""Finding the files of a data set, and reading its small text files."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from pipeline.datasets.records import DatasetError

VIDEO_ENDINGS = frozenset(
    {".3gp", ".avi", ".divx", ".flv", ".gif", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ogv"}
    | {".ts", ".vob", ".webm", ".wmv", ".y4m"}
)
"""Endings of files taken for videos, in lower case."""
MAX_LINE_BYTES = 2**20
"""Of any file of annotations: one record, id or caption."""
MAX_TEXT_BYTES = 2**26
"""Of a list of ids or of captions."""


def is_video(path: str) -> bool:
    """Whether the ending of `path` is one of `VIDEO_ENDINGS`.

    >>> is_video("a/CLIP.MP4"), is_video("mp4")
    (True, False)
    """
    return PurePosixPath(path).suffix.lower() in VIDEO_ENDINGS


def without_ending(path: str) -> str:
    """The path less its last ending.

    >>> without_ending("a.b/-x.25.mp4")
    'a.b/-x.25'
    """
    return str(PurePosixPath(path).with_suffix(""))


def files_below(folder: Path) -> list[str]:
    """Every file in or below `folder`, relative to it with forward slashes, sorted.

    Links to folders are followed. Names that start with a dot are left out: they are what systems leave behind
    (`._clip.mp4`, `.DS_Store`).

    Raises:
        DatasetError: if `folder` is none, or a link leads back to a folder above it.
    """
    require_folder(folder)
    return sorted(_walk(folder, "", frozenset()))


def _walk(folder: Path, prefix: str, above: frozenset[tuple[int, int]]) -> Iterator[str]:
    status = folder.stat()
    here = (status.st_dev, status.st_ino)
    if here in above:
        raise DatasetError(f"{folder} is a link to a folder above itself; remove it")
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                yield from _walk(Path(entry.path), f"{prefix}{entry.name}/", above | {here})
            else:
                yield prefix + entry.name


def read_lines(path: Path, max_bytes: int = MAX_TEXT_BYTES) -> Iterator[tuple[int, str]]:
    """The lines of a UTF-8 file that are not blank, stripped, each with its number from 1; one of them is held.

    Raises:
        DatasetError: if there is no such file, it has more than `max_bytes`, or a line has more than `MAX_LINE_BYTES`
            or is not UTF-8.
    """
    require_file(path)
    size = path.stat().st_size
    if size > max_bytes:
        raise DatasetError(f"{path} has {size} bytes, and may have {max_bytes}; is it the right file?")
    with path.open("rb") as file:
        number = 0
        while line := file.readline(MAX_LINE_BYTES + 1):
            number += 1
            if len(line) > MAX_LINE_BYTES:
                raise DatasetError(f"{path}:{number}: longer than {MAX_LINE_BYTES} bytes; is this one entry a line?")
            text = decode_line(line, path, number).strip()
            if text:
                yield number, text


def decode_line(line: bytes, path: Path, number: int) -> str:
    """Line `number` of `path` as text, without the byte order mark that may open the file."""
    try:
        return line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path}:{number}: not UTF-8 ({error}); convert the file to UTF-8") from error


def first_few(names: Iterable[str]) -> str:
    """The first five names, for a message.

    >>> first_few(["a", "b"]), first_few("abcdefg")
    ("'a', 'b'", "'a', 'b', 'c', 'd', 'e' and 2 more")
    """
    names = list(names)
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(map(repr, names[:5])) + more


def require_file(path: Path) -> None:
    """Raise a `DatasetError` unless `path` is a file."""
    if not path.is_file():
        raise DatasetError(f"{path} is a folder, not a file" if path.is_dir() else f"there is no file {path}")


def require_folder(path: Path) -> None:
    """Raise a `DatasetError` unless `path` is a folder."""
    if not path.is_dir():
        raise DatasetError(f"{path} is a file, not a folder" if path.exists() else f"there is no folder {path}")
