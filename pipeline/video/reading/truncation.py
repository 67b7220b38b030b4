"""Whether part of a file is lost; one rule for all containers.

Files lose bytes: a download that stopped, one whose middle never arrived and is zeros, a bad sector, a disk that was
full. The size of the file may be right all the same. The rule:

    A file is readable up to its first lost byte. What the lost part held does not count as lost
    if no frame can be missing there. Nothing after a lost frame is used.

Three questions follow, and what a container declares answers them:

1. **Where is the first lost byte?** Where the elements of the container do not follow each other as they say
   (`containers/`: sizes, marks, counters, checksums), or where the file ends before its container does. In ISO media,
   where the index says that a frame lies beyond the end of the file: what else is cut off, too long or appended there,
   concerns no frame.
2. **Can a frame be missing there?** Not if the frames before and after it leave no room for one (their times, or in
   AVI, which has none, the number of frames), nor at the end, if the frames last as long as the container says.
   So lost sound and a lost seek index do not make a video truncated, and a long-held frame is not a hole.
3. **How long was the whole?** As the container says, or as the frames after the loss say. If nothing says it, only
   clips that end before the loss can be made.

Counts and durations alone are not believed, because many headers are wrong: they are asked only where bytes are lost.
One kind of loss leaves no other trace: whole packs taken out of an MPEG stream. So a hole in the times of MPEG-1 and -2
video, which has a constant rate, is a loss as well (`implausible_gap`). A loss inside a single packet does not break
the structure; it is damage (`PacketTable.is_hollow`, `soundness.py`).

Raw streams are only searched for zeros, and containers that are not in `containers/` (NUT, RealMedia, DV, ...) not at
all: for them, damage is what their demuxer or decoder sees.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import Enum, auto
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

import numpy as np

from pipeline.video.reading.containers import iso, matroska, mpeg, riff, small
from pipeline.video.reading.containers.walk import Walk
from pipeline.video.reading.packets import NO_TIME, PacketTable
from pipeline.video.reading.timeline import UNKNOWN_END

_HEAD_BYTES = 1 << 16
_NOTHING = Walk()
_LONGEST_HOLD = 3
"""Times the usual interval: longer, at a constant rate, no picture is shown."""


class Family(Enum):
    """Kinds of containers, as far as the rule goes."""

    INDEXED = auto()
    """ISO media: an index says where each frame is."""
    COUNTED = auto()
    """AVI, GIF, APNG, MXF and raw streams: the time of a frame is the sum of those before it."""
    PAGED = auto()
    """Ogg, ASF: a page has parts of several frames, and not each frame has a time."""
    TIMED = auto()
    """Matroska, FLV, IVF: each frame has a time."""
    STREAM = auto()
    """MPEG streams: as `TIMED`, and may begin anywhere."""
    UNCHECKED = auto()


_OTHERS = {
    mpeg.PACK: (mpeg.walk_ps, Family.STREAM),
    small.GIF: (small.walk_gif, Family.COUNTED),
    small.PNG: (small.walk_png, Family.COUNTED),
    small.MXF: (small.walk_mxf, Family.COUNTED),
    small.FLV: (small.walk_flv, Family.TIMED),
    small.IVF: (small.walk_ivf, Family.TIMED),
    small.OGG: (small.walk_ogg, Family.PAGED),
    small.ASF: (small.walk_asf, Family.PAGED),
}
"""By the bytes with which a file begins."""


@dataclass(frozen=True, slots=True)
class FileExtent:
    """How the bytes of a file compare with what its container declares."""

    size: int
    """Of the file, in bytes."""
    walk: Walk = _NOTHING
    family: Family = Family.UNCHECKED

    @property
    def is_declared(self) -> bool:
        """Whether the container declares how many bytes there are."""
        return self.walk.declared_end is not None

    @property
    def missing_bytes(self) -> int:
        """Bytes that the container declares after the end of the file; 0 if it declares nothing."""
        return max(0, (self.walk.declared_end or 0) - self.size)

    @property
    def index_missing(self) -> bool:
        """Whether an ISO media file lacks a whole `moov` box, without which nothing can be read."""
        return self.walk.index_missing

    @property
    def is_damaged(self) -> bool:
        """Whether bytes are lost, be frames among them or not."""
        return bool(self.missing_bytes or self.walk.breaks or self.index_missing)

    @property
    def where_lost(self) -> str:
        """In words, for a file that is damaged."""
        if self.walk.breaks:
            return f"from byte {self.walk.breaks[0]} on"
        return f"{self.missing_bytes} bytes at its end"


def file_extent(path: Path) -> FileExtent:
    """Follow the structure of a file; contents of frames are not read.

    Raises:
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        return FileExtent(size, *_walk(file, size))


def _walk(file: BinaryIO, size: int) -> tuple[Walk, Family]:
    head = file.read(_HEAD_BYTES)
    if head[4:8] in iso.TYPES:
        return iso.walk_iso(file, size), Family.INDEXED
    if head[:4] == riff.MAGIC and head[8:12] in riff.KINDS:
        return riff.walk_avi(file, size), Family.COUNTED
    if head[:4] == matroska.MAGIC:
        return matroska.walk_matroska(file, size), Family.TIMED
    for mark, (walk, family) in _OTHERS.items():
        if head.startswith(mark):
            return walk(file, size), family
    if small.is_raw(head):
        return small.walk_raw(file, size), Family.COUNTED
    layout = mpeg.ts_start(head)
    return (_NOTHING, Family.UNCHECKED) if layout is None else (mpeg.walk_ts(file, size, *layout), Family.STREAM)


@dataclass(frozen=True, slots=True)
class Loss:
    """The first place at which frames are lost."""

    num_before: int
    """Packets before it, which are whole."""
    end: int
    """The end of the whole video, in ticks, or `UNKNOWN_END`."""


@dataclass(frozen=True, slots=True)
class DeclaredEnd:
    """When a header says that the video ends."""

    ticks: int
    is_exact: bool
    """Whether it is that of the video alone; else, sound may end later."""


def first_loss(table: PacketTable, extent: FileExtent, declared: DeclaredEnd | None, index_end: int = 0) -> Loss | None:
    """Where the first frame is lost; None if none is.

    Args:
        table: All packets that can be read.
        extent: Of their file.
        declared: When the video ends by its header; None if it does not say.
        index_end: Place in the file after the last frame that its index lists; 0 without an index.
    """
    losses = _losses(extent, index_end, is_end_declared=declared is not None)
    # The last packets may be cut in half. In a stream, the mark on them means less.
    num_broken = _num_broken(table) if losses and extent.family is not Family.STREAM else 0
    whole = table.head(len(table) - num_broken)
    frames = _Frames(whole, extent, None if declared is None else declared.ticks)
    numbers = np.searchsorted(whole.file_end, losses, side="right").tolist()  # packets that end at or before each loss
    found = next((place for place in range(len(losses)) if frames.may_be_missing_after(numbers[place])), None)
    if found is None and not num_broken:
        return None
    num_before = len(whole) if found is None else numbers[found]
    # At the end of the file it cannot: a packet that was cut there is flagged, or not given at all.
    if found is not None and losses[found] < extent.size:
        num_before = max(0, num_before - 1)  # what begins before a break may end in it
    end = declared.ticks if declared is not None and declared.is_exact else None
    if extent.family in (Family.TIMED, Family.STREAM) and losses[-1] < whole.file_end.max(initial=0):
        end = frames.end  # of those after the loss
    return Loss(num_before, UNKNOWN_END if end is None else end)


def implausible_gap(table: PacketTable, extent: FileExtent) -> Loss | None:
    """The first hole in the times of an MPEG stream whose pictures have a constant rate; None if there is none.

    Whole packs can be taken out of such a stream, and nothing else shows it. A few pictures that a recorder dropped are
    no loss.
    """
    if extent.family is not Family.STREAM or len(table) < 2 or bool((table.dts == NO_TIME).any()):
        return None
    intervals = np.diff(table.dts)
    # The median: one long hole would move a mean.
    is_hole = intervals > _LONGEST_HOLD * np.median(intervals)
    if not is_hole.any():
        return None
    return Loss(int(is_hole.argmax()), _Frames(table, extent, None).end or UNKNOWN_END)


def _num_broken(table: PacketTable) -> int:
    """Number of packets at the end that are flagged corrupt."""
    return int(np.argmin(table.is_corrupt[::-1])) if not table.is_corrupt.all() else len(table)


def _losses(extent: FileExtent, index_end: int, *, is_end_declared: bool) -> list[int]:
    """Places of lost bytes, increasing."""
    losses = list(extent.walk.breaks)
    if extent.family is Family.INDEXED:
        is_cut = index_end > extent.size
    else:
        # A file that ends inside an element, and never said how long it would be, is all that there is of a recording.
        is_cut = extent.missing_bytes > 0 or (extent.walk.ends_inside and is_end_declared)
    return losses + [extent.size] * is_cut


class _Frames:
    """The frames that are there, and whether there is room for more between them."""

    def __init__(self, table: PacketTable, extent: FileExtent, declared_end: int | None) -> None:
        self._table, self._family, self._declared_end = table, extent.family, declared_end
        self._decoded = table.dts[table.dts != NO_TIME]
        self._goes_back = bool((np.diff(self._decoded) < 0).any())
        times = table.shown_times
        self._times = times if len(times) else np.unique(self._decoded)
        self._intervals = np.diff(self._times)

    @property
    def end(self) -> int | None:
        """When the last frame ends, in ticks; it is shown for as long as its packet says, or the least interval.

        None if times go back: files were joined, and no header has their sum.
        """
        if self._goes_back or not len(self._intervals):
            return None
        duration = int(self._table.duration[np.argmax(self._table.pts)])
        return int(self._times[-1]) + (duration or int(self._intervals.min()))

    def may_be_missing_after(self, num_before: int) -> bool:
        """Whether a frame may be missing after the first packets of the table."""
        if self._family in (Family.INDEXED, Family.PAGED) or not len(self._intervals):
            return True
        if num_before and self._table.ends_in_zeros[num_before - 1]:
            return True  # where the hole begins
        if self._family is Family.COUNTED:
            return self._declared_end is None or len(self._table) < self._declared_end - self._table.start_pts
        if num_before == len(self._table) and self._ends_early():
            return True
        if not num_before and self._family is Family.STREAM:
            return True  # it may begin anywhere; others begin at 0
        return self._has_room

    @cached_property  # a stream may have thousands of breaks
    def _has_room(self) -> bool:
        """Whether an interval is as long as two of the shortest, also that before the first frame."""
        start = 0 if self._family is Family.STREAM else int(self._times[0])
        longest = max(start, int(self._intervals.max()), int(np.diff(self._decoded).max(initial=0)))
        return self._goes_back or longest >= 2 * int(self._intervals.min())

    def _ends_early(self) -> bool:
        """Whether the frames end at another time than the header says. Headers round: half a frame is nothing."""
        if self._declared_end is None or self.end is None:
            return True
        return 2 * abs(self._declared_end - self.end) > float(self._intervals.mean())
