"""Which packets to send to a decoder so that it gives some frames of a video, and as few others as possible.

Pictures refer to pictures that were decoded before them. So a frame needs the packets from the last place before it at
which a decoder can start, and of these only the ones that others may refer to. In a usual stream, half
of the pictures are referred to by none. Leaving these out is exact: they cannot influence other pictures. For 12 frames
spread over a video, 46 to 48% of its pictures are decoded if key frames are 250 apart, 14 to 25% if they are close.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.video.reading.packets import NO_TIME, PacketTable


@dataclass(frozen=True, slots=True)
class Segment:
    """Packets to send one after the other to a fresh decoder, which is then drained."""

    packets: NDArray[np.int64]
    """Places in the table, increasing."""
    shown_pts: NDArray[np.int64]
    """The times of the frames that must come out, no more and no fewer, in this order."""


def plan_segments(table: PacketTable, wanted: Iterable[int]) -> tuple[Segment, ...] | None:
    """Plan the packets for the frames of some packets.

    Between two wanted frames, the decoder restarts if there is a start between them; otherwise it continues.

    Args:
        table: Of the whole stream; packets that are shown have times, all different.
        wanted: Places in the table of packets that are shown.

    Returns:
        Segments in the order of the file. None if a wanted frame has no start that is decoded and shown no later.

    Twice: a start, a picture that two others are predicted from, and these two (shown before it):

    >>> from pipeline.video.reading.bitstream import Picture
    >>> start, reference, other = Picture(True, True), Picture(False, True), Picture(False, False)
    >>> times = [(0, 0), (3, 1), (1, 2), (2, 3), (4, 4), (7, 5), (5, 6), (6, 7)]
    >>> table = PacketTable.of(times, [start, reference, other, other] * 2)
    >>> [segment.packets.tolist() for segment in plan_segments(table, [2, 7])]
    [[0, 1, 2], [4, 5, 7]]
    >>> [segment.shown_pts.tolist() for segment in plan_segments(table, [2, 7])]
    [[0, 1, 3], [4, 6, 7]]
    """
    starts = np.flatnonzero(table.is_start)
    ranges: list[tuple[int, int, list[int]]] = []
    for target in sorted(set(wanted)):
        start = _start_for(table, starts, target)
        if start is None:
            return None
        first, targets = start, [target]
        # Ranges that overlap become one. A leading picture starts one key frame earlier, so it may reach over several.
        while ranges and start < ranges[-1][1]:
            earlier, _, before = ranges.pop()
            first, targets = min(first, earlier), [*before, *targets]
        ranges.append((first, target + 1, targets))
    return tuple(_segment(table, first, stop, targets) for first, stop, targets in ranges)


def everything_to(table: PacketTable, last: int) -> Segment:
    """All packets up to a place: for streams from which none may be left out."""
    packets = np.arange(last + 1)
    return Segment(packets, np.sort(table.pts[: last + 1][table.is_shown[: last + 1]]))


def _start_for(table: PacketTable, starts: NDArray[np.int64], target: int) -> int | None:
    """The last start that is decoded and shown no later than the target.

    A leading picture of an open GOP (HEVC, H.264) is decoded after its start and shown before it. It may refer to
    pictures before the start, so it needs an earlier one.
    """
    # A target that is a start itself needs no other.
    for place in range(int(np.searchsorted(starts, target, side="right")) - 1, -1, -1):
        if table.pts[starts[place]] <= table.pts[target]:
            return int(starts[place])
    return None


def _segment(table: PacketTable, first: int, stop: int, targets: list[int]) -> Segment:
    pts = table.pts[first:stop]
    # Leading pictures of the first start may refer to pictures before it, which are not decoded here.
    is_leading = (pts < table.pts[first]) & (pts != NO_TIME)
    keep = table.is_needed_by_others[first:stop] & ~is_leading
    keep[np.array(targets) - first] = True
    packets = first + np.flatnonzero(keep)
    return Segment(packets, np.sort(table.pts[packets][table.is_shown[packets]]))
