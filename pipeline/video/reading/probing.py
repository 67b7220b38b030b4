"""When the frames of a video are shown, learnt from its packets without decoding them where they can be believed."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av.error
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from pipeline.video.clips import VideoError
from pipeline.video.options import DecodeOptions
from pipeline.video.reading.bitstream import parser_of
from pipeline.video.reading.opening import Deadline, OpenVideo, open_video
from pipeline.video.reading.packets import NO_TIME, PacketLog, PacketTable
from pipeline.video.reading.timeline import Timeline, timeline_of
from pipeline.video.reading.truncation import FileExtent
from store.schema import VideoStatus

HELD_BYTES = 1 << 26
"""Packets of a video are kept in memory while they take less than this in all; else they are read again."""
PACKET_BYTES = 1 << 10
"""What a packet takes beside its content, about."""

_MICROSECOND = Fraction(1, 1_000_000)
"""The unit of a container's duration in ffmpeg."""


@dataclass(frozen=True, slots=True)
class VideoScan:
    """What a video's packets and header say."""

    table: PacketTable
    timeline: Timeline | None
    """As the packets promise it, or None where they cannot be believed."""
    time_base: Fraction
    """Seconds a tick."""
    average_rate: Fraction | None
    """Frames a second by the header; used only for frames without times."""
    guessed_rate: Fraction | None
    """Frames a second as ffmpeg guesses and OpenCV reports it; used only by `clip4clip` sampling."""
    declared_end: int | None
    """Where a file that was cut off was to end, in ticks; None for a whole file."""
    pixel_aspect: Fraction
    """Width over height of a pixel as displayed."""
    codec: str
    is_cut_off: bool
    may_skip: bool
    """Whether packets may be left out: their codec is understood, and its parameters do not change on the way."""
    may_end_early: bool
    """Whether the last packet may be cut off: the container does not say how long it is."""
    held: tuple[Packet[VideoStream], ...] | None = field(repr=False)
    """The packets, or None where they would take too much memory."""


def scan_video(video: OpenVideo, extent: FileExtent, options: DecodeOptions, deadline: Deadline) -> VideoScan:
    """Read the packets of a video without decoding them; `extent` is that of its file.

    Raises:
        VideoError: `CORRUPT` when they cannot be read; `TOO_SHORT` when there are none; `UNSUPPORTED` when there are
            more than the limit; `TIMEOUT`.
    """
    stream, container = video.stream, video.container
    codec = stream.codec_context.codec.canonical_name
    parser = parser_of(codec, stream.codec_context.extradata)
    log, held, cut_off = PacketLog(parser), _Held(), extent.is_cut_off
    try:
        with closing(video.packets(deadline)) as packets:
            for packet in packets:
                if len(log) >= options.max_packets:
                    reason = f"the video stream has more than {options.max_packets} packets, which is the limit"
                    raise VideoError(VideoStatus.UNSUPPORTED, reason)
                log.add(packet)
                held.add(packet)
    except (av.error.InvalidDataError, av.error.OSError):
        if not cut_off:
            raise
    table = log.table()
    if cut_off:
        table = table.head(len(table) - _num_broken(table))
    if stream.time_base is None or not len(table):
        raise VideoError(VideoStatus.TOO_SHORT, "the video stream has 0 frames")
    declared_end = declared_end_of(container, stream, table.start_pts) if cut_off else None
    has_b_frames = bool(stream.codec_context.has_b_frames)
    return VideoScan(
        table=table,
        timeline=planned_timeline(table, stream.time_base, declared_end, has_b_frames=has_b_frames),
        time_base=stream.time_base,
        average_rate=stream.average_rate or stream.guessed_rate,
        guessed_rate=stream.guessed_rate or stream.average_rate,
        declared_end=declared_end,
        pixel_aspect=video.pixel_aspect,
        codec=codec,
        is_cut_off=cut_off,
        may_skip=parser is not None and not log.changes_parameters,
        may_end_early=not extent.is_declared,
        held=held.packets(len(table)),
    )


class _Held:
    """Keeps packets until they are too many bytes, and then none."""

    def __init__(self) -> None:
        self._packets: list[Packet[VideoStream]] | None = []
        self._num_bytes = 0

    def add(self, packet: Packet[VideoStream]) -> None:
        self._num_bytes += packet.size + PACKET_BYTES
        if self._num_bytes > HELD_BYTES:
            self._packets = None
        elif self._packets is not None:
            self._packets.append(packet)

    def packets(self, num_packets: int) -> tuple[Packet[VideoStream], ...] | None:
        return None if self._packets is None else tuple(self._packets[:num_packets])


def read_packets(
    path: Path, scan: VideoScan, places: Sequence[int], deadline: Deadline, options: DecodeOptions
) -> Generator[Packet[VideoStream], None, None]:
    """The packets at some places of the table, increasing: those that are held, or read again."""
    if scan.held is not None:
        yield from (scan.held[place] for place in places)
        return
    wanted = iter(places)
    place = next(wanted, None)
    with open_video(path, deadline, options) as video, closing(video.packets(deadline)) as packets:
        for number, packet in enumerate(packets):
            if number == place:
                yield packet
                place = next(wanted, None)
            if place is None:
                return


def _num_broken(table: PacketTable) -> int:
    """Packets at the end that are flagged corrupt: what a cut left of the last ones."""
    return int(np.argmin(table.is_corrupt[::-1])) if not table.is_corrupt.all() else len(table)


def planned_timeline(
    table: PacketTable, time_base: Fraction, declared_end: int | None, *, has_b_frames: bool
) -> Timeline | None:
    """The timeline that the packets promise, or None where it cannot be believed.

    Not believed: packets without times or with equal ones, decoding times that go back, a first packet that is no key
    frame or is shown after another, fewer than two frames, and B pictures that are said to be shown in the order of the
    file (times that an AVI cannot hold). Packets outside an edit list are no frames. What is believed is still checked
    against every frame decoded.

    Args:
        table: Of the whole stream.
        time_base: Seconds a tick.
        declared_end: Where a file that was cut off was to end, in ticks; None for a whole file.
        has_b_frames: Whether pictures are decoded in another order than shown.

    >>> reordered = PacketTable.of([(1, 0), (3, 1), (2, 2)])
    >>> planned_timeline(reordered, Fraction(1, 25), None, has_b_frames=True).pts
    array([1, 2, 3])
    >>> in_order = PacketTable.of([(0, NO_TIME), (1, 1), (2, 2)])
    >>> planned_timeline(in_order, Fraction(1, 25), None, has_b_frames=True) is None
    True
    """
    shown = table.pts[table.is_shown]
    times = np.unique(shown)
    if len(times) < 2 or len(times) != len(shown) or times[0] == NO_TIME or not table.is_key[0]:
        return None
    if table.is_shown[0] and table.pts[0] != times[0]:
        return None
    dts = table.dts[table.dts != NO_TIME]
    if bool((dts[1:] < dts[:-1]).any()) or (has_b_frames and bool((shown[1:] > shown[:-1]).all())):
        return None
    last_duration = int(table.duration[table.is_shown][np.argmax(shown)])
    return timeline_of(times, last_duration, time_base, declared_end, table.decoded_end)


def declared_end_of(container: InputContainer, stream: VideoStream, start_pts: int) -> int | None:
    """Where the header says that the stream ends, in ticks; asked only of files that were cut off.

    An mp4 says it for the stream; so does an AVI, as a number of frames of one tick each (its duration ffmpeg shortens
    to what is left); a Matroska file says it for the whole. Nothing else is believed.
    """
    if stream.time_base is None:
        return None
    if container.format.name == "avi" and stream.frames > 0:
        return start_pts + stream.frames
    if stream.duration is not None and stream.duration > 0:
        return start_pts + stream.duration
    if "matroska" in container.format.name and container.duration is not None:
        return int(container.duration * _MICROSECOND / stream.time_base)
    return None
