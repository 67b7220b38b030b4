"""Matroska and WebM (RFC 9559): EBML elements, each an id, a size and a content."""

from __future__ import annotations

import os
from typing import BinaryIO

from pipeline.video.reading.containers.walk import Walk, find, read_at

MAGIC = bytes.fromhex("1a45dfa3")
_SEGMENT, _CLUSTER = bytes.fromhex("18538067"), bytes.fromhex("1f43b675")
_SIMPLE_BLOCK = bytes.fromhex("a3")
# `SeekID` of 4 bytes, which is that of Cues; then `SeekPosition`.
_INDEX_ENTRY, _POSITION = bytes.fromhex("53ab841c53bb6b"), bytes.fromhex("53ac")
_CONTENTS_BYTES = 512
_OF_A_SEGMENT = "114d9b74 1549a966 1654ae6b 1c53bb6b 1941a469 1043a770 1254c367"
"""SeekHead, Info, Tracks, Cues, Attachments, Chapters, Tags."""
_OF_A_CLUSTER = "e7 5854 a7 ab a3 a0 af"
"""Timestamp, SilentTracks, Position, PrevSize, SimpleBlock, BlockGroup, EncryptedBlock."""
_ANYWHERE = "ec bf 1a45dfa3"
"""Void, CRC-32, the header of a file that was appended."""
_SKIPPED = frozenset(map(bytes.fromhex, f"{_OF_A_SEGMENT} {_OF_A_CLUSTER} {_ANYWHERE}".split()))
_AFTER_A_CLUSTER = frozenset((*map(bytes.fromhex, _OF_A_SEGMENT.split()), _CLUSTER, _SEGMENT))
"""What never lies inside a cluster."""


def walk_matroska(file: BinaryIO, size: int) -> Walk:
    """Follow the elements of the segment and of its clusters.

    Where bytes are taken out between two blocks, or from one into another just as long, all elements follow each other.
    Then the size of their cluster tells: it ends before it should, at a place that nothing shows.
    """
    file.seek(len(MAGIC))
    header_size = _read_size(file)
    if header_size is None or header_size > size:
        return Walk()
    file.seek(header_size, os.SEEK_CUR)
    if file.read(4) != _SEGMENT:
        return Walk()
    segment_size = _read_size(file)
    place = file.tell()
    declared_end = None if segment_size is None else place + segment_size
    end = size if declared_end is None else min(size, declared_end)
    index_place = _index_place(file, place, end)
    breaks = []
    start_of_cluster, end_of_cluster = 0, None
    while place < end:
        name, after = _element_at(file, place, end, is_declared=declared_end is not None)
        if end_of_cluster is not None and (place >= end_of_cluster or name in _AFTER_A_CLUSTER):
            if place != end_of_cluster:
                breaks.append(start_of_cluster)
            end_of_cluster = None
        if after is None:
            breaks.append(place)
            after, end_of_cluster = find(file, _CLUSTER, place + 1, end), None
        elif name == _CLUSTER:
            start_of_cluster, end_of_cluster = place, _end_of_cluster(file, place, after)
            if index_place > place:
                end, declared_end = min(end, index_place), index_place  # nothing that follows belongs to a frame
        place = after
    return Walk(declared_end, tuple(breaks), ends_inside=place > end)


def _index_place(file: BinaryIO, start: int, end: int) -> int:
    """The place of the index (Cues), as the list of contents at the start of the segment has it; 0 if it has not."""
    contents = read_at(file, start, min(_CONTENTS_BYTES, end - start))
    entry = contents.find(_INDEX_ENTRY) + len(_INDEX_ENTRY)
    if entry < len(_INDEX_ENTRY) or contents[entry : entry + 2] != _POSITION:
        return 0
    # The size of a short element is one byte, `0x8n`. The position counts from the first byte in the segment.
    num_bytes = contents[entry + 2] & 0x0F
    return start + int.from_bytes(contents[entry + 3 : entry + 3 + num_bytes], "big")


def _end_of_cluster(file: BinaryIO, place: int, first_child: int) -> int | None:
    """Where the cluster at a place ends by its own size; None if it does not say."""
    file.seek(place + len(_CLUSTER))
    size = _read_size(file)
    return None if size is None else first_child + size


def _element_at(file: BinaryIO, place: int, end: int, *, is_declared: bool) -> tuple[bytes, int | None]:
    """The name at a place, and the place after its element, or of its first child; None if there is no element."""
    file.seek(place)
    head = file.read(13)  # 4 of an id, 8 of a size, and the first of the content
    num_bytes = 9 - head[0].bit_length()  # as many bytes as the first one has leading zero bits, and one
    name = head[:num_bytes]
    if name in (_CLUSTER, _SEGMENT):  # a segment: another file was appended
        file.seek(place + num_bytes)
        _read_size(file)  # may be unknown; the next cluster ends this one
        return name, file.tell()
    if name not in _SKIPPED:
        return name, None
    file.seek(place + num_bytes)
    content_size = _read_size(file)
    if content_size is None:
        return name, None
    after = file.tell() + content_size
    if name == _SIMPLE_BLOCK and file.read(1) == b"\0":  # a block of no track
        return name, None
    # A size that leads out of a segment of known size is damage. Else, it is the last element, which was cut.
    return name, after if after <= end or not is_declared else None


def _read_size(file: BinaryIO) -> int | None:
    """A size of 1 to 8 bytes, the leading zero bits of the first saying how many more follow; None when unknown."""
    first = file.read(1)
    if not first or first[0] == 0:
        return None
    extra_bytes = 8 - first[0].bit_length()
    value = (first[0] & (0x7F >> extra_bytes)) << (8 * extra_bytes) | int.from_bytes(file.read(extra_bytes), "big")
    unknown = (1 << (7 * (extra_bytes + 1))) - 1  # all ones: written by a streamer that could not know
    return None if value == unknown else value
