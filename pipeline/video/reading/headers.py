"""What the header of a file says and PyAV does not give: which part of a picture is shown, and whether it is a still.

ffmpeg reads the crop of a track (`clap` of ISO media, 14496-12, 12.1.4; PixelCrop of Matroska, RFC 9559, 5.1.4.1.28)
into side data of the stream, which no decoder applies and PyAV 18.1 does not give out. So these few elements are read
again here. Files come from anybody: an element that leads out of its parent ends the reading, as does the number of
elements looked at, and no more than 78 bytes of one are read.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

from pipeline.video.reading.display import Crop

_MAX_ELEMENTS = 20_000
"""Looked at in one file. A fragmented file has two boxes a fragment, garbage can have millions."""
_SAMPLE_ENTRY_BYTES = 78
"""Of a visual sample entry, before the boxes in it."""
_SEQUENCES = frozenset({b"avis", b"msf1", b"hevc", b"hevx"})
"""Brands of sequences of pictures (HEIF, ISO 23008-12, 10.3 and B.4; AVIF)."""
_SEGMENT, _TRACKS, _TRACK, _TRACK_TYPE, _VIDEO = 0x18538067, 0x1654AE6B, 0xAE, 0x83, 0xE0
_PIXEL_WIDTH, _PIXEL_HEIGHT = 0xB0, 0xBA
_CROP_BOTTOM, _CROP_TOP, _CROP_LEFT, _CROP_RIGHT = 0x54AA, 0x54BB, 0x54CC, 0x54DD
_TYPE_VIDEO = 1


def is_still_picture(path: Path) -> bool:
    """Whether an ISO media file without `moov` is a picture (HEIC, AVIF): it has a `meta` whose handler is `pict`.

    A sequence of pictures has one as well, and says by its brand that a `moov` belongs to it.

    Raises:
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        boxes = _Elements(file, _read_box)
        if any(boxes.content(box, 4) in _SEQUENCES for box in boxes.within(boxes.whole, (b"ftyp",))):
            return False
        handlers = boxes.within(boxes.whole, (b"meta",))
        # `meta` and `hdlr` begin with version and flags; in `hdlr` four more bytes come before the handler.
        found = [hdlr for meta in handlers for hdlr in boxes.children(meta.part(4)) if hdlr.kind == b"hdlr"]
        return any(boxes.content(hdlr.part(8), 4) == b"pict" for hdlr in found)


def crop_of_track(path: Path, track_id: int) -> Crop | None:
    """The crop of a track of an ISO media file, by its `clap`; None if there is none, or a wrong one.

    Args:
        path: The file.
        track_id: As in `tkhd`; ffmpeg's id of the stream.

    Raises:
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        boxes = _Elements(file, _read_box)
        for track in boxes.within(boxes.whole, (b"moov", b"trak")):
            if _track_id(boxes, track) == track_id:
                tables = boxes.within(track, (b"mdia", b"minf", b"stbl", b"stsd"))
                # A table begins with version, flags and a count. Of its entries, ffmpeg's first stream is the first.
                entries = [next(boxes.children(table.part(8)), None) for table in tables]
                return next((_clap(boxes, entry) for entry in entries if entry is not None), None)
    return None


def _track_id(boxes: _Elements, track: _Element) -> int | None:
    for header in boxes.within(track, (b"tkhd",)):
        content = boxes.content(header, 24)
        place = 20 if content[:1] == b"\1" else 12  # times have 8 bytes in version 1, 4 before
        return int.from_bytes(content[place : place + 4], "big")
    return None


def _clap(boxes: _Elements, entry: _Element) -> Crop | None:
    head = boxes.content(entry, _SAMPLE_ENTRY_BYTES)
    # 8 bytes that all sample entries have, 16 reserved, then 2 width and 2 height.
    width, height = int.from_bytes(head[24:26], "big"), int.from_bytes(head[26:28], "big")
    for box in boxes.children(entry.part(_SAMPLE_ENTRY_BYTES)):
        if box.kind == b"clap":
            content = boxes.content(box, 32)
            numbers = [int.from_bytes(content[i : i + 4], "big", signed=True) for i in range(0, 32, 4)]
            if len(content) < 32 or min(numbers[1::2]) < 1:  # a denominator of 0
                return None
            # Numerator and denominator, 4 bytes each, of: width, height, horizontal and vertical offset of the centre.
            columns, rows, right, down = (Fraction(*numbers[i : i + 2]) for i in range(0, 8, 2))
            return _crop((height, width), _aperture(height, rows, down), _aperture(width, columns, right))
    return None


def _aperture(length: int, size: Fraction, offset: Fraction) -> tuple[int, int]:
    """The pixels `[first, last)` of an aperture of `size`, its centre `offset` from that of a picture; as ffmpeg cuts.

    >>> _aperture(120, Fraction(80), Fraction(6)), _aperture(1088, Fraction(1080), Fraction(-4))
    ((26, 106), (0, 1080))
    """
    centre = Fraction(length - 1, 2) + offset
    return int((centre - (size - 1) / 2) // 1), int((centre + (size - 1) / 2) // 1) + 1


def crop_of_matroska(path: Path, number: int) -> Crop | None:
    """The crop of a video track of a Matroska or WebM file, by its PixelCrop; None if there is none, or a wrong one.

    Args:
        path: The file.
        number: Of the track among those of video, from 0: ffmpeg gives the streams of a file no ids.

    Raises:
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        elements = _Elements(file, _read_ebml)
        for track in elements.within(elements.whole, (_SEGMENT, _TRACKS, _TRACK)):
            parts = list(elements.children(track))
            if _TYPE_VIDEO not in [elements.number(part) for part in parts if part.kind == _TRACK_TYPE]:
                continue
            number -= 1
            if number < 0:
                shapes = [part for part in parts if part.kind == _VIDEO]
                found = {part.kind: elements.number(part) for shape in shapes for part in elements.children(shape)}
                return _pixel_crop(found)
    return None


def _pixel_crop(found: dict[bytes | int, int]) -> Crop | None:
    height, width = found.get(_PIXEL_HEIGHT, 0), found.get(_PIXEL_WIDTH, 0)
    top, left = found.get(_CROP_TOP, 0), found.get(_CROP_LEFT, 0)
    bottom, right = height - found.get(_CROP_BOTTOM, 0), width - found.get(_CROP_RIGHT, 0)
    return _crop((height, width), (top, bottom), (left, right))


def _crop(stored: tuple[int, int], rows: tuple[int, int], columns: tuple[int, int]) -> Crop | None:
    """The crop, or None if it is the whole picture or no part of it: players ignore a wrong crop."""
    if (rows, columns) == ((0, stored[0]), (0, stored[1])):
        return None
    try:
        return Crop(stored, rows, columns)
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class _Element:
    """A box of ISO media, or an element of EBML."""

    kind: bytes | int
    start: int
    """Where its content lies in the file: `[start, end)`."""
    end: int

    def part(self, start: int) -> _Element:
        """Its content from a byte on."""
        return _Element(self.kind, min(self.start + start, self.end), self.end)


class _Elements:
    """Reads nested elements of a file, as many as are allowed."""

    def __init__(self, file: BinaryIO, read: Callable[[bytes, int, int], _Element | None]) -> None:
        self._file = file
        self._read = read
        self._num_left = _MAX_ELEMENTS
        self.whole = _Element(b"", 0, os.fstat(file.fileno()).st_size)

    def children(self, parent: _Element) -> Iterator[_Element]:
        """The elements in another, until one cannot be right."""
        start = parent.start
        while start < parent.end and self._num_left > 0:
            self._num_left -= 1
            element = self._read(self.content(_Element(b"", start, parent.end), 16), start, parent.end)
            if element is None or not start < element.start <= element.end <= parent.end:
                return
            yield element
            start = element.end

    def within(self, parent: _Element, kinds: Sequence[bytes | int]) -> Iterator[_Element]:
        """The elements at the end of a path of kinds."""
        for child in self.children(parent):
            if child.kind == kinds[0]:
                yield from self.within(child, kinds[1:]) if len(kinds) > 1 else (child,)

    def content(self, element: _Element, most: int) -> bytes:
        """The first bytes of an element."""
        self._file.seek(element.start)
        return self._file.read(min(most, element.end - element.start))

    def number(self, element: _Element) -> int:
        """The unsigned integer that an element of EBML holds."""
        return int.from_bytes(self.content(element, 8), "big")


def _read_box(head: bytes, start: int, end: int) -> _Element | None:
    """4 bytes of size, 4 of type; size 1 means that 8 more bytes of size follow, 0 means "to the end"."""
    size, body = int.from_bytes(head[:4], "big"), start + 8
    if size == 1:
        size, body = int.from_bytes(head[8:16], "big"), start + 16
    return _Element(head[4:8], body, start + size if size else end) if len(head) >= 8 else None


def _read_ebml(head: bytes, start: int, end: int) -> _Element | None:
    """An id of 1 to 4 bytes and a size of 1 to 8, the leading zero bits of each first byte saying how many follow."""
    id_bytes = 9 - head[0].bit_length()
    size_bytes = 9 - head[id_bytes].bit_length() if id_bytes < len(head) else 0
    body = id_bytes + size_bytes
    if id_bytes > 4 or not 0 < size_bytes <= 8 or body > len(head):
        return None
    unknown = (1 << 7 * size_bytes) - 1  # all ones: written by a streamer that could not know
    size = int.from_bytes(head[id_bytes:body], "big") & unknown
    stop = end if size == unknown else start + body + size
    return _Element(int.from_bytes(head[:id_bytes], "big"), start + body, stop)
