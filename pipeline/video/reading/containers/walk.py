"""What a walk through the structure of a file finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO

SEARCHED_BYTES = 1 << 20
"""Read at once in search of the next element."""


@dataclass(frozen=True, slots=True)
class Walk:
    """The structure of a file, from its first element to its last. Contents of elements are not looked at."""

    declared_end: int | None = None
    """The place at which the container says that it ends; None if it does not say."""
    breaks: tuple[int, ...] = ()
    """Places, increasing, at which an element should begin and none does: what was there is lost (zeros in place of
    data that never arrived), or bytes before it were taken out. The walk goes on at the next element that it finds."""
    ends_inside: bool = False
    """Whether the file ends inside an element. Recordings that were killed do, and streams that were cut into files."""
    is_fragmented: bool = False
    """Whether each part of ISO media has its own index: what follows the last one is not known."""
    index_missing: bool = False
    """Whether there is no whole index without which nothing can be read (`moov` of ISO media)."""


def read_at(file: BinaryIO, place: int, num_bytes: int) -> bytes:
    """Bytes of a file; fewer at its end."""
    file.seek(place)
    return file.read(num_bytes)


def find(file: BinaryIO, mark: bytes, start: int, end: int) -> int:
    """The first place from `start` on at which some bytes lie; `end` if they do not."""
    while start < end:
        content = read_at(file, start, min(SEARCHED_BYTES, end - start))
        place = content.find(mark)
        if place >= 0:
            return start + place
        # The next read overlaps this one: a mark may lie across the border.
        start += max(1, len(content) - len(mark) + 1)
    return end
