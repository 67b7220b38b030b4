"""Finding the files of a data set, and reading its text files, gzipped or not, within limits."""

from __future__ import annotations

import gzip
import os
import stat
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from pipeline.datasets.records import DatasetError

VIDEO_ENDINGS = frozenset(
    {".264", ".265", ".3g2", ".3gp", ".apng", ".asf", ".avi", ".divx", ".dv", ".f4v", ".flv", ".gif", ".h264", ".h265"}
    | {".hevc", ".ivf", ".m1v", ".m2ts", ".m2v", ".m4v", ".mjpeg", ".mjpg", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg"}
    | {".mpv", ".mts", ".mxf", ".nut", ".ogm", ".ogv", ".qt", ".rm", ".rmvb", ".ts", ".vob", ".webm", ".wmv", ".wtv"}
    | {".y4m"}
)
"""Endings of video files, in lower case. A file of another ending beside a video is not one: downloaders leave `.json`,
`.txt`, `.vtt`, `.jpg`, `.part` and many more, and often nothing else of a video that could not be fetched."""
UNLISTED_FOLDERS = frozenset({"lost+found"})
"""Folders that systems make, and which only their administrator may read."""
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

    Links to folders are followed; a link that leads nowhere, or to itself, is listed like the file that it should be.
    Names that start with a dot are skipped: systems leave such files behind (`._clip.mp4`, `.DS_Store`).

    Raises:
        DatasetError: if `folder` is not a folder, a folder cannot be read, or a link leads back to a folder above it.
    """
    require_folder(folder)
    return sorted(_walk(folder, "", frozenset()))


def _walk(folder: Path, prefix: str, above: frozenset[tuple[int, int]]) -> Iterator[str]:
    try:
        status = folder.stat()
        with os.scandir(folder) as waiting:
            entries = list(waiting)
    except OSError as error:  # left out in silence, its videos would be missing with no reason
        raise DatasetError(
            f"the folder {folder} cannot be read: {error.strerror}. Make it readable, move it away, or name another "
            "folder with --videos"
        ) from error
    # By device and inode: a link and its folder have different paths, and the same of these.
    here = (status.st_dev, status.st_ino)
    if here in above:
        raise DatasetError(f"{folder} is a link to a folder above itself; remove it")
    for entry in entries:
        if entry.name.startswith(".") or entry.name in UNLISTED_FOLDERS:
            continue
        if _is_folder(entry):
            yield from _walk(Path(entry.path), f"{prefix}{entry.name}/", above | {here})
        else:
            yield prefix + entry.name


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself: whoever opens it is told so
        return False


def find_videos(root: Path, id_of: Mapping[str, str]) -> dict[str, str]:
    """The path of each video's file below `root`: one with the ending of a video, or without any.

    Args:
        root: A folder.
        id_of: Stem of a file -> id of the video. One video may have several stems.

    Returns:
        Id -> path, relative to `root`, for the videos that were found.

    Raises:
        DatasetError: if `root` is no folder, or two files could be the video of one id.
    """
    path_of: dict[str, str] = {}
    for path in files_below(root):
        name = PurePosixPath(path)
        if name.stem in id_of and (is_video(path) or not name.suffix):
            video_id = id_of[name.stem]
            other = path_of.setdefault(video_id, path)
            if other != path:
                # To take the first would be to decode one of two videos without anybody knowing which.
                raise DatasetError(f"{root}: {other!r} and {path!r} could both be video {video_id!r}; keep one")
    return path_of


def text_file(folder: Path, *names: str) -> Path | None:
    """The first of these files that is in `folder`, as it is or gzipped.

    >>> text_file(Path(__file__).parent, "captions.json", "files.py") == Path(__file__)
    True
    """
    paths = (folder / f"{name}{ending}" for name in names for ending in ("", ".gz"))
    return next((path for path in paths if path.is_file()), None)


def require_text_file(folder: Path, *names: str) -> Path:
    """Like `text_file`.

    Raises:
        DatasetError: if none of them exists.
    """
    require_folder(folder)
    path = text_file(folder, *names)
    if path is None:
        raise DatasetError(f"there is no file {folder / names[0]}" + "".join(f", nor {name}" for name in names[1:]))
    return path


def read_text(path: Path, max_bytes: int) -> str:
    """The whole of a UTF-8 file, unpacked if its name ends with `.gz`.

    Raises:
        DatasetError: if there is no such file, or it has more than `max_bytes` or is not UTF-8.
    """
    with _opened(path, max_bytes) as file:
        content = file.read(max_bytes + 1)  # one byte more than allowed, to see whether there is more
    if len(content) > max_bytes:
        raise DatasetError(f"{path} unpacks to more than {max_bytes} bytes; is it the right file?")
    try:
        return content.decode("utf-8-sig")  # editors on Windows write a byte order mark
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path}: not UTF-8 ({error}); convert the file to UTF-8") from error


def read_lines(path: Path, max_bytes: int = MAX_TEXT_BYTES) -> Iterator[tuple[int, str]]:
    """The lines of a UTF-8 file that are not blank, stripped, each with its number from 1; one is in memory at a time.

    Raises:
        DatasetError: as `read_raw_lines`.
    """
    for number, line in read_raw_lines(path, max_bytes):
        text = line.strip()
        if text:
            yield number, text


def read_raw_lines(path: Path, max_bytes: int = MAX_TEXT_BYTES) -> Iterator[tuple[int, str]]:
    """The lines of a UTF-8 file as they are, unpacked if its name ends with `.gz`, each with its number from 1.

    Raises:
        DatasetError: if there is no such file, it has more than `max_bytes`, or a line has more than `MAX_LINE_BYTES`
            or is not UTF-8.
    """
    with _opened(path, max_bytes) as file:
        number, left = 0, max_bytes
        # At most so much is read of a line: a file without line breaks would be in memory as a whole.
        while line := file.readline(MAX_LINE_BYTES + 1):
            number += 1
            # Counted while unpacking: 64 MiB of gzip may unpack to 64 GiB.
            left -= len(line)
            if len(line) > MAX_LINE_BYTES:
                raise DatasetError(f"{path}:{number}: longer than {MAX_LINE_BYTES} bytes; is this one entry a line?")
            if left < 0:
                raise DatasetError(f"{path} unpacks to more than {max_bytes} bytes; is it the right file?")
            yield number, decode_line(line, path, number)


@contextmanager
def _opened(path: Path, max_bytes: int) -> Iterator[IO[bytes] | gzip.GzipFile]:
    """Open a file to read. Its size is checked here, its size when unpacked by the reader: it is not known before."""
    require_file(path)
    size = path.stat().st_size
    if size > max_bytes:
        raise DatasetError(f"{path} has {size} bytes, more than the limit of {max_bytes}; is it the right file?")
    try:
        with path.open("rb") if path.suffix != ".gz" else gzip.open(path) as file:
            yield file
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DatasetError(f"{path} is not a whole gzip file: {error}") from error
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror}") from error


def decode_line(line: bytes, path: Path, number: int) -> str:
    """Line `number` of `path` as text, without the byte order mark that a file may begin with."""
    try:
        return line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path}:{number}: not UTF-8 ({error}); convert the file to UTF-8") from error


def first_few(names: Iterable[str], total: int | None = None) -> str:
    """The first five names, for a message; `total` is how many there are, if not all of them are given.

    >>> first_few(["a", "b"]), first_few("abcdefg"), first_few("abcdef", 99)
    ("'a', 'b'", "'a', 'b', 'c', 'd', 'e' and 2 more", "'a', 'b', 'c', 'd', 'e' and 94 more")
    """
    names = list(names)
    total = len(names) if total is None else total
    more = f" and {total - 5} more" if total > 5 else ""
    return ", ".join(map(repr, names[:5])) + more


_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def require_file(path: Path) -> None:
    """Raise a `DatasetError` unless `path` is a file. A pipe may never end, and a device may have no end."""
    mode = _mode_of(path)
    if mode is None:
        raise DatasetError(f"there is no file {path}")
    if not stat.S_ISREG(mode):
        kind = next((name for is_kind, name in _KINDS if is_kind(mode)), "something else")
        remedy = "" if stat.S_ISDIR(mode) else ": save what it gives as a file, and name that"
        raise DatasetError(f"{path} is {kind}, not a file{remedy}")


def require_folder(path: Path) -> None:
    """Raise a `DatasetError` unless `path` is a folder."""
    mode = _mode_of(path)
    if mode is None:
        raise DatasetError(f"there is no folder {path}")
    if not stat.S_ISDIR(mode):
        raise DatasetError(f"{path} is a file, not a folder")


def require_source(path: Path) -> None:
    """Raise a `DatasetError` unless `path` is a folder or a file."""
    mode = _mode_of(path)
    if mode is None:
        raise DatasetError(f"there is no file or folder {path}")
    if not stat.S_ISDIR(mode):
        require_file(path)


def _mode_of(path: Path) -> int | None:
    """What is at `path`, links followed; None if there is nothing, or a link that leads nowhere."""
    try:
        return path.stat().st_mode
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:  # a link to itself, a part that is no folder, no permission, a NUL
        why = error.strerror if isinstance(error, OSError) else error
        raise DatasetError(f"{path} cannot be read: {why}") from error


def in_one_line(text: str) -> str:
    """A text in one line."""
    return " ".join(text.split())
