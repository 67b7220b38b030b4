"""AVI: chunks of four letters, a size and a content, padded to an even size. Files over 1 GB have several parts."""

from __future__ import annotations

from typing import BinaryIO

from pipeline.video.reading.containers.walk import Walk, read_at

MAGIC = b"RIFF"
KINDS = (b"AVI ", b"AVIX")
_UNKNOWN_SIZES = (0, 0xFFFFFFFF)
"""Of a part whose writer never came back to fill its size in."""
_OPENED = (b"movi", b"rec ")
"""Lists whose chunks are followed; other lists are skipped whole."""
_LOST_ENTRIES = bytes(64)
"""No index has 64 zeros in a row: its entries begin with a name."""
_PRINTABLE = frozenset(range(0x20, 0x7F))


def walk_avi(file: BinaryIO, size: int) -> Walk:
    """Follow the chunks of each part.

    The walk ends at the first break: the times of an AVI are the numbers of its chunks, so that no chunk after a lost
    one has its time.
    """
    place = part_end = 0
    is_declared = True
    while place + 8 <= size:
        head = read_at(file, place, 12)
        if place >= part_end:
            if head[:4] != MAGIC or head[8:12] not in KINDS:
                break  # bytes after the last part are nobody's
            part_size = int.from_bytes(head[4:8], "little")
            is_declared = part_size not in _UNKNOWN_SIZES
            # The size counts what follows it: not the 8 bytes of name and size.
            part_end = place + 8 + part_size if is_declared else size
            place += 12
            continue
        after = _after_chunk(head, place)
        if head[:4] == b"idx1" and _LOST_ENTRIES in read_at(file, place, min(size, (after or 0)) - place):
            return Walk(part_end if is_declared else None, (0,))  # ffmpeg takes the times from it
        if after is None and place % 2 == 0:  # a writer that forgot to pad
            after = _after_chunk(read_at(file, place - 1, 12), place - 1)
        # One more: a part may or may not count the byte that pads its last chunk.
        if after is None or after > part_end + 1:
            is_cut = after is not None and not is_declared
            return Walk(part_end if is_declared else None, () if is_cut else (place,), ends_inside=is_cut)
        place = after
    return Walk(part_end if is_declared else None)


def _after_chunk(head: bytes, place: int) -> int | None:
    """The place after a chunk, or of the first chunk inside it; None if it has no name."""
    if not _PRINTABLE.issuperset(head[:4]):
        return None
    if head[:4] == b"LIST" and head[8:12] in _OPENED:
        return place + 12
    chunk_size = int.from_bytes(head[4:8], "little")
    return place + 8 + chunk_size + chunk_size % 2
