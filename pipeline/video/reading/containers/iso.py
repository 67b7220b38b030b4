"""ISO media (MP4, MOV, 3GP; ISO/IEC 14496-12): boxes, each a size, a type and a content."""

from __future__ import annotations

from typing import BinaryIO

from pipeline.video.reading.containers.walk import Walk, read_at

TYPES = frozenset({b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"styp"})
"""Of the first box."""
_NEEDED = TYPES | {b"moof"}
"""Types of boxes that a file must have to their end; of other types, cameras append what they like."""
_HOLDS_BOXES = frozenset({b"moov", b"trak", b"mdia", b"minf", b"stbl", b"moof", b"traf"})
_TABLES = frozenset({b"stts", b"ctts", b"stsc", b"stsz", b"stco", b"co64", b"stss", b"trun"})
_LOST_ENTRIES = bytes(64)
"""No table of a video track has 64 zeros in a row: its entries are counts of at least one, sizes and places."""
_MAX_BOXES = 100_000
"""Top-level boxes looked at: a fragmented file has two a fragment, garbage can have millions."""
_MAX_INDEX_BYTES = 1 << 28
"""A larger index is not looked into."""
_MAX_DEPTH = 8


def walk_iso(file: BinaryIO, size: int) -> Walk:
    """Follow the boxes at the top, and those inside each index (`moov`, `moof`).

    A damaged `moov` is a break at 0: nothing is where it says. Whether the frames that a sound one lists lie in the
    file is seen when it is opened (`scan_video`). In a file of fragments, what is no box stands for lost ones.
    """
    before = place = end = 0
    has_index = is_fragmented = False
    breaks = []
    for _ in range(_MAX_BOXES):
        length, kind, content = _box_at(file, place)
        is_last = length < content - place  # size 0 is "to the end"; others are garbage
        after = size if is_last else place + length
        if kind in (b"moov", b"moof") and after <= size:
            # `mvex` in `moov` announces fragments, also if none of them has arrived.
            index = read_at(file, content, min(after - content, _MAX_INDEX_BYTES))
            has_index |= kind == b"moov"
            is_fragmented |= kind == b"moof" or b"mvex" in index
            if after - content <= _MAX_INDEX_BYTES and not _is_sound(index, kind):
                breaks.append(0 if kind == b"moov" else place)
        if (after > size and kind not in _NEEDED) or not kind.isascii() or not kind.strip(b"\0"):
            if is_fragmented:
                breaks.append(before)  # its content may be shorter than it says, too
            break
        before, place, end = place, after, after
        if after >= size:
            if is_fragmented and after > size:
                breaks.append(before)
            break
    return Walk(end, tuple(sorted(breaks)), is_fragmented=is_fragmented, index_missing=not has_index)


def _box_at(file: BinaryIO, place: int) -> tuple[int, bytes, int]:
    """Length, type and place of the content of a box. For a length of 1, 8 bytes more have it."""
    head = read_at(file, place, 16)
    # Layout: 4 bytes length (of the whole box), 4 type, then 8 bytes of a longer length or the content.
    length = int.from_bytes(head[:4], "big")
    is_long = length == 1
    return int.from_bytes(head[8:16], "big") if is_long else length, head[4:8], place + (16 if is_long else 8)


def _is_sound(content: bytes, kind: bytes, depth: int = 0, *, is_video: bool = True) -> bool:
    """Whether the boxes in a box follow each other up to its end, and no table of a video track was lost.

    >>> _is_sound(bytes.fromhex("00000010") + b"trak" + bytes.fromhex("00000008") + b"edts", b"moov")
    True
    >>> _is_sound(bytes.fromhex("00000010") + b"trak" + bytes.fromhex("00000004") + b"edts", b"moov")
    False
    """
    if kind in _TABLES:
        return not is_video or _LOST_ENTRIES not in content
    if kind not in _HOLDS_BOXES or depth > _MAX_DEPTH:
        return True
    place = 0
    while place + 8 <= len(content):
        length, child = int.from_bytes(content[place : place + 4], "big"), content[place + 4 : place + 8]
        after = place + length
        if length < 8 or after > len(content):
            return length == 0 and not content[place:].strip(b"\0")  # an end mark of QuickTime
        inside = content[place + 8 : after]
        of_video = is_video and (child != b"trak" or _is_video_track(inside))
        if not _is_sound(inside, child, depth + 1, is_video=of_video):
            return False
        place = after
    return True


def _is_video_track(track: bytes) -> bool:
    """By the type of its handler, which is 8 bytes after the name of that box."""
    handler = track.find(b"hdlr")
    return track[handler + 12 : handler + 16] == b"vide"
