"""The layout `video2dataset`: what video2dataset writes in the format webdataset.

    00000.tar        <key>.mp4, <key>.txt, <key>.json
    00000.parquet    optional: key, and caption, or caption_0, caption_1, ...; without it captions are in <key>.txt

Videos in a tar cannot be decoded in place: they are extracted into a folder, as `<shard>/<key>.mp4`. Tars come from
anybody: only plain files with plain names are accepted, and nothing is read before its length is known.
"""

from __future__ import annotations

import os
import secrets
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pipeline.datasets.reading.files import (
    MAX_LINE_BYTES,
    decode_line,
    in_one_line,
    is_video,
    require_file,
    require_folder,
)
from pipeline.datasets.reading.json_files import errors_at
from pipeline.datasets.records import Dataset, DatasetError, VideoRecord, VideoRecords

SPLIT = "test"
"""Of all videos: video2dataset has no splits."""
MAX_MEMBERS = 2**20
"""Of a tar; video2dataset puts some thousand videos into one."""
MAX_HEADER_BYTES = 2**16
"""Of the extra header for a long or non-ASCII name, which is read as a whole."""
_BLOCK = 512
_HEADERS = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME)


@dataclass(frozen=True, slots=True)
class _Sample:
    """What a tar and its table contain for one key."""

    video: tarfile.TarInfo | None
    captions: tuple[str, ...]


def read_video2dataset(source: Path, videos: Path | None = None, *, extract_to: Path | None = None) -> Dataset:
    """Read tars, in the order of their names and members. Every video is in the split `test`.

    A key without a video in its tar is left out, and counted: video2dataset could not fetch it. A video without a
    caption stays, without any.

    Args:
        source: The folder of the tars.
        videos: A folder to which the videos were extracted before.
        extract_to: A folder to extract them to. Videos that it already contains are kept as they are.

    Raises:
        DatasetError: if there is no tar or no folder for the videos, a tar is cut off, contains anything but plain
            files of plain names, or has a key twice, or a Parquet file is malformed.
    """
    require_folder(source)
    tars = sorted(source.glob("*.tar"))
    if not tars:
        raise DatasetError(f"{source} contains no .tar file")
    if videos is not None and extract_to is not None:
        raise DatasetError(f"give either --videos {videos} (already extracted) or --extract-to {extract_to}, not both")
    root = videos if extract_to is None else extract_to
    if root is None:
        num_mib = sum(path.stat().st_size for path in tars) >> 20
        raise DatasetError(
            f"the videos of {source} are in tars and cannot be decoded there: give --extract-to FOLDER, with "
            f"{num_mib + 1:,} MiB free, or with --videos the folder to which they were extracted before"
        )
    left_out: list[str] = []
    records = VideoRecords(_videos_in(tars, extract_to, left_out))
    name, not_used = source.absolute().name, {SPLIT: tuple(left_out)} if left_out else {}
    return Dataset(name, root.absolute(), records, left_out=not_used)


def _videos_in(tars: Iterable[Path], extract_to: Path | None, left_out: list[str]) -> Iterator[VideoRecord]:
    """The videos of tars, which are extracted; adds the keys without one to `left_out`."""
    tar_of: dict[str, Path] = {}
    for path in tars:
        for key, sample in _samples(path).items():
            if key in tar_of:
                raise DatasetError(f"{path}: key {key!r} is already in {tar_of[key]}; keys must be unique")
            tar_of[key] = path
            if sample.video is None:
                left_out.append(key)
                continue
            ending = PurePosixPath(sample.video.name).suffix
            with errors_at(str(path)):
                video = VideoRecord(key, f"{path.stem}/{key}{ending}", SPLIT, sample.captions)
            if extract_to is not None:
                _extract(path, sample.video, extract_to / video.path)
            yield video


def _samples(path: Path) -> dict[str, _Sample]:
    """The samples of a tar by key, with those that only its Parquet file lists."""
    video_of: dict[str, tarfile.TarInfo] = {}
    captions_of: dict[str, tuple[str, ...]] = {}
    table = path.with_suffix(".parquet")
    has_table = table.is_file()
    for key, captions in _rows_of(table) if has_table else ():
        if key in captions_of:
            raise DatasetError(f"{table}: key {key!r} appears twice; keep one")
        # A row without a video in the tar is one that video2dataset could not fetch.
        captions_of[key] = captions
    with _opened(path) as tar:
        for member in _members(path, tar):
            key, ending = _key_of(member.name)
            if is_video(f"x.{ending}"):
                if key in video_of:
                    names = f"{video_of[key].name!r} and {member.name!r}"
                    raise DatasetError(f"{path}: key {key!r} has two videos, {names}; keep one")
                video_of[key] = member
            elif ending == "txt" and not has_table:
                captions_of[key] = _caption_in(path, tar, member)
    keys = dict.fromkeys([*video_of, *captions_of])
    return {key: _Sample(video_of.get(key), captions_of.get(key, ())) for key in keys}


def _rows_of(table: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
    # Imported here, because pyarrow takes longer to import than `fda preprocess --help` may take to print.
    from pipeline.datasets.reading.parquet_files import read_captions

    return read_captions(table)


def _key_of(name: str) -> tuple[str, str]:
    """Key and ending of a member: the part of its name before the first dot, and after it.

    >>> _key_of("a.b/00012.MP4")
    ('a.b/00012', 'mp4')
    """
    folder, _, base = name.rpartition("/")
    # By WebDataset's rule: files of one sample share the name up to the first dot.
    stem, _, ending = base.partition(".")
    return (f"{folder}/{stem}" if folder else stem), ending.lower()


def _opened(path: Path) -> tarfile.TarFile:
    _check_headers(path)
    try:
        return tarfile.open(path, "r:")  # never compressed: the bytes that `_check_headers` has checked
    except (tarfile.TarError, ValueError) as error:
        raise DatasetError(f"{path} is not a tar that can be read: {error}") from error


def _check_headers(path: Path) -> None:
    """Check all headers of a tar before `tarfile` reads them as a whole, however long they claim to be.

    Raises:
        DatasetError: It is cut off, contains something else than files and folders, or headers or members that are too
            large or too many.
    """
    require_file(path)  # a pipe of such a name would be waited for
    num_bytes, start = path.stat().st_size, 0
    with path.open("rb") as file:
        for _ in range(MAX_MEMBERS):
            # A tar is a row of blocks of 512 bytes: a header with name, size and type, then the content, filled up with
            # zeros.
            file.seek(start)
            block = file.read(_BLOCK)
            # A block of zeros is the end; some writers leave it out, and the file ends.
            if not block.strip(b"\0"):
                return
            try:
                header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
            except (tarfile.HeaderError, ValueError) as error:
                raise DatasetError(f"{path}: no header of a tar at byte {start}: {error}") from error
            if header.type in _HEADERS:
                if header.size > MAX_HEADER_BYTES:
                    raise DatasetError(f"{path}: the header at byte {start} has {header.size} bytes; it was not read")
            elif header.type not in (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE):
                raise DatasetError(f"{path}: {header.name!r} is a link, a device or a file with holes; it was not read")
            # To the next header: the content takes whole blocks.
            start += _BLOCK + -(-header.size // _BLOCK) * _BLOCK
            # Large sizes are written in binary, with a sign: a negative one would lead back, for ever.
            if header.size < 0 or start > num_bytes:
                raise DatasetError(f"{path}: {header.name!r} claims {header.size} bytes: the tar is cut off")
    raise DatasetError(f"{path} has more than {MAX_MEMBERS} members")


def _members(path: Path, tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """The plain files of a tar, each once."""
    seen: set[str] = set()
    try:
        for member in tar:
            _check_member(path, member)
            is_hidden = PurePosixPath(member.name).name.startswith(".")  # such as `._a.mp4`, left behind by systems
            if member.isdir() or is_hidden:
                continue
            if member.name in seen:
                raise DatasetError(f"{path}: {member.name!r} appears twice; keep one")
            seen.add(member.name)
            yield member
    except (tarfile.TarError, ValueError) as error:
        if isinstance(error, DatasetError):
            raise
        raise DatasetError(f"{path} is not a tar that can be read: {error}") from error


def _check_member(path: Path, member: tarfile.TarInfo) -> None:
    others = sorted(key for key in member.pax_headers if key == "size" or key.startswith("GNU.sparse"))
    if others or member.issparse():  # they carry another length than the one that `_check_headers` saw
        raise DatasetError(f"{path}: {member.name!r} has more than 8 GiB or holes; it was not read")
    if member.name.startswith("/") or ".." in member.name.split("/") or "\0" in member.name:
        raise DatasetError(f"{path}: {member.name!r} would be extracted outside the folder; it was not read")
    # `./a.mp4` and `a.mp4` are one key.
    member.name = os.path.normpath(member.name)


def _caption_in(path: Path, tar: tarfile.TarFile, member: tarfile.TarInfo) -> tuple[str, ...]:
    """The text of a member, as one caption; none if it is blank."""
    if member.size > MAX_LINE_BYTES:
        raise DatasetError(f"{path}: {member.name!r} has {member.size} bytes, more than the limit of {MAX_LINE_BYTES}")
    file = tar.extractfile(member)
    assert file is not None  # it is a plain file
    text = in_one_line(decode_line(file.read(), path / member.name, 1))
    return (text,) if text else ()


def _extract(path: Path, member: tarfile.TarInfo, target: Path) -> None:
    """Write a member to a file, whole or not at all, unless the file exists with its size."""
    if target.is_file() and target.stat().st_size == member.size:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    # A random name, because parts of an array job may extract the member at the same time.
    partial = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    with path.open("rb") as tar, partial.open("wb") as file:
        # Copied by hand: `tarfile` would also set owner, mode and time, as the tar says.
        tar.seek(member.offset_data)
        left = member.size
        while left and (some := tar.read(min(left, 2**20))):
            left -= file.write(some)
        file.flush()
        os.fsync(file.fileno())  # before the rename: a file of the right size is never checked again
    partial.replace(target)
