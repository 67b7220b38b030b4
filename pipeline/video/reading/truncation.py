"""Whether a file was cut off, by the byte counts of its container.

Durations in headers are often wrong, byte counts hardly ever. Three families declare how many bytes there are: ISO
media (mp4, mov, 3gp: top-level boxes), RIFF (avi: the first chunk) and Matroska (webm, mkv: the segment, unless it was
streamed). For all others (MPEG-TS and -PS, FLV, Ogg, raw streams), the end of the file is the end of the video.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_ISO_TYPES = frozenset({b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"styp"})
_EBML_MAGIC = bytes.fromhex("1a45dfa3")
_SEGMENT_ID = bytes.fromhex("18538067")
_MAX_BOXES = 100_000
"""Top-level boxes looked at: a fragmented file has two a fragment, garbage can have millions."""


@dataclass(frozen=True, slots=True)
class FileExtent:
    """How the size of a file compares with what its container declares."""

    missing_bytes: int
    """Bytes that the container declares after the end of the file; 0 if it is whole or declares nothing."""
    is_declared: bool
    """Whether the container declares how many bytes there are."""
    index_missing: bool = False
    """Whether an ISO media file lacks a whole `moov` box, without which nothing can be read."""

    @property
    def is_cut_off(self) -> bool:
        """Whether the file ends before its container does."""
        return self.missing_bytes > 0 or self.index_missing


UNDECLARED = FileExtent(missing_bytes=0, is_declared=False)


def file_extent(path: Path) -> FileExtent:
    """Compare the size of a file with what its container declares; `UNDECLARED` if it declares nothing.

    Raises:
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        head = file.read(12)
        if head[4:8] in _ISO_TYPES:
            return _iso_extent(file, size)
        if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
            return _beyond(8 + int.from_bytes(head[4:8], "little"), size)
        if head[:4] == _EBML_MAGIC:
            return _matroska_extent(file, size)
    return UNDECLARED


def _beyond(end: int, size: int) -> FileExtent:
    return FileExtent(missing_bytes=max(0, end - size), is_declared=True)


def _iso_extent(file: BinaryIO, size: int) -> FileExtent:
    """Walk the top-level boxes: 4 bytes of size, 4 of type; size 1 means 8 more bytes of size, 0 means "to the end"."""
    start, end, has_index = 0, 0, False
    for _ in range(_MAX_BOXES):
        file.seek(start)
        head = file.read(16)
        length = int.from_bytes(head[:4], "big")
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        is_last = len(head) < 8 or length < 8  # size 0 is "to the end"; 2 to 7 are garbage
        end = size if is_last else start + length
        has_index = has_index or (head[4:8] == b"moov" and end <= size)
        if is_last or end >= size:
            break
        start = end
    return FileExtent(missing_bytes=max(0, end - size), is_declared=True, index_missing=not has_index)


def _matroska_extent(file: BinaryIO, size: int) -> FileExtent:
    """Skip the EBML header and read the size of the segment after it."""
    file.seek(4)
    header_size = _read_ebml_size(file)
    if header_size is None or header_size > size:
        return UNDECLARED
    file.seek(header_size, os.SEEK_CUR)
    if file.read(4) != _SEGMENT_ID:
        return UNDECLARED
    segment_size = _read_ebml_size(file)
    return UNDECLARED if segment_size is None else _beyond(file.tell() + segment_size, size)


def _read_ebml_size(file: BinaryIO) -> int | None:
    """A size of 1 to 8 bytes, the leading zero bits of the first saying how many more follow; None when unknown."""
    first = file.read(1)
    if not first or first[0] == 0:
        return None
    extra_bytes = 8 - first[0].bit_length()
    value = (first[0] & (0x7F >> extra_bytes)) << (8 * extra_bytes) | int.from_bytes(file.read(extra_bytes), "big")
    unknown = (1 << (7 * (extra_bytes + 1))) - 1  # all ones: written by a streamer that could not know
    return None if value == unknown else value
