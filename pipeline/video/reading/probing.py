"""When the frames of a video are shown, from its packets, if these can be trusted. Nothing is decoded."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import dropwhile
from pathlib import Path

import av.error
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from pipeline.video.clips import VideoError
from pipeline.video.options import DecodeOptions
from pipeline.video.reading.bitstream import CONSTANT_RATES, ZEROS_ARE_NORMAL, parser_of
from pipeline.video.reading.display import Display
from pipeline.video.reading.opening import Deadline, OpenVideo, open_video
from pipeline.video.reading.packets import NO_TIME, PacketLog, PacketTable
from pipeline.video.reading.streams import StreamChoice
from pipeline.video.reading.timeline import Timeline, timeline_of
from pipeline.video.reading.truncation import DeclaredEnd, Family, FileExtent, first_loss, implausible_gap
from store.schema import VideoStatus

BUFFERED_BYTES = 1 << 26
"""The packets of a video are kept in memory up to this size; above it, they are read from the file again."""
PACKET_BYTES = 1 << 10
"""About what a packet takes besides its content."""

JUMP_PACKETS = 300
"""So many packets are read in the time of a seek, or more."""
_SEEKABLE = frozenset({"mp4", "matroska"})
"""Demuxers with an index, that give a packet the same times after a seek as before."""

_MICROSECOND = Fraction(1, 1_000_000)
"""The unit of a container's duration in ffmpeg."""
_DECLARING = frozenset({"matroska", "flv", "asf"})
"""Demuxers that read the duration of the file from its header, and do not guess it."""


@dataclass(frozen=True, slots=True)
class VideoScan:
    """The facts from a video's packets and header."""

    table: PacketTable
    timeline: Timeline | None
    """As the packets promise it; None if they cannot be trusted."""
    time_base: Fraction
    """Seconds a tick."""
    average_rate: Fraction | None
    """Frames a second by the header, as OpenCV reports it; used only for frames without times and by `clip4clip`."""
    declared_end: int | None
    """The end of the whole video if frames are lost, in ticks: as the header declares it or the frames after the loss
    show it, or `UNKNOWN_END`. None for a file that is whole."""
    choice: StreamChoice
    """Which video stream it is."""
    display: Display
    """How its pictures are shown."""
    codec: str
    may_skip: bool
    """Whether packets may be left out: their codec is understood, and its parameters do not change on the way."""
    may_end_early: bool
    """Whether the last packet may be cut off: the container does not say how long it is."""
    buffered: tuple[Packet[VideoStream], ...] | None = field(repr=False)
    """The packets, or None if they take more than `BUFFERED_BYTES`."""


def scan_video(video: OpenVideo, extent: FileExtent, options: DecodeOptions, deadline: Deadline) -> VideoScan:
    """Read the packets of a video without decoding them; `extent` is that of its file.

    Raises:
        VideoError: `CORRUPT` if they cannot be read; `TOO_SHORT` if there are none; `UNSUPPORTED` if there are more
            than the limit; `TIMEOUT`.
    """
    stream, container = video.stream, video.container
    codec = stream.codec_context.codec.canonical_name
    parser = parser_of(codec, stream.codec_context.extradata)
    # In an MPEG stream, holes break its structure, and H.264 may be padded.
    searches_zeros = codec not in ZEROS_ARE_NORMAL and extent.family is not Family.STREAM
    log = PacketLog(parser, searches_zeros=searches_zeros)
    buffer, refusal = _PacketBuffer(), None
    try:
        with closing(video.packets(deadline)) as packets:
            for packet in packets:
                if len(log) >= options.max_packets:
                    reason = f"the video stream has more than {options.max_packets} packets, which is the limit"
                    raise VideoError(VideoStatus.UNSUPPORTED, reason)
                log.add(packet)
                buffer.add(packet)
    except (av.error.InvalidDataError, av.error.OSError) as error:
        refusal = error
    if stream.time_base is None or not len(log):
        raise refusal or VideoError(VideoStatus.TOO_SHORT, "the video stream has 0 frames")
    table = log.table()
    declared = declared_end_of(container, stream, table.start_pts)
    if extent.walk.is_fragmented:
        declared = None  # ffmpeg adds up the fragments that are there
    loss = first_loss(table, extent, declared, _index_end(stream, extent))
    if loss is None and codec in CONSTANT_RATES:
        loss = implausible_gap(table, extent)
    if refusal is not None and loss is None and not extent.is_damaged:
        raise refusal
    if loss is not None:
        table = table.head(loss.num_before)
    elif extent.is_damaged and extent.family is Family.STREAM:
        # Whole in number, not in content. The demuxer flags a packet, and its neighbours may be meant.
        flags = np.pad(table.is_corrupt, 1)
        table = replace(table, is_hollow=table.is_hollow | flags[:-2] | flags[1:-1] | flags[2:])
    if not len(table):
        raise VideoError(VideoStatus.TOO_SHORT, "the video stream has 0 frames that are readable")
    declared_end = None if loss is None else loss.end
    has_b_frames = bool(stream.codec_context.has_b_frames)
    return VideoScan(
        table=table,
        timeline=planned_timeline(table, stream.time_base, declared_end, has_b_frames=has_b_frames),
        time_base=stream.time_base,
        average_rate=stream.average_rate or stream.guessed_rate,
        declared_end=declared_end,
        choice=video.choice,
        display=video.display(),
        codec=codec,
        # Parameter sets that change on the way are in packets that might be left out.
        may_skip=parser is not None and not log.changes_parameters,
        may_end_early=not extent.is_declared,
        buffered=buffer.packets(len(table)),
    )


def _index_end(stream: VideoStream, extent: FileExtent) -> int:
    """Place in the file after the last frame that the index of ISO media lists; 0 for other containers."""
    if extent.family is not Family.INDEXED:
        return 0
    return max((entry.pos + entry.size for entry in stream.index_entries), default=0)


class _PacketBuffer:
    """Keeps packets up to `BUFFERED_BYTES`. Above it, it drops them all."""

    def __init__(self) -> None:
        self._packets: list[Packet[VideoStream]] | None = []
        self._num_bytes = 0

    def add(self, packet: Packet[VideoStream]) -> None:
        self._num_bytes += packet.size + PACKET_BYTES
        # All are dropped, not only later ones: half of the packets would save no reading of the file.
        if self._num_bytes > BUFFERED_BYTES:
            self._packets = None
        elif self._packets is not None:
            self._packets.append(packet)

    def packets(self, num_packets: int) -> tuple[Packet[VideoStream], ...] | None:
        return None if self._packets is None else tuple(self._packets[:num_packets])


def read_packets(
    path: Path, scan: VideoScan, places: Sequence[int], deadline: Deadline, options: DecodeOptions
) -> Generator[Packet[VideoStream], None, None]:
    """The packets at some places of the table, increasing: from memory, or read from the file again.

    Where the next place is far ahead, the file is not read up to it: ffmpeg seeks. If it fails there, or does not find
    the packet that the table has, everything is read from the start.
    """
    if scan.buffered is not None:
        yield from (scan.buffered[place] for place in places)
        return
    waiting, may_jump = deque(places), True
    while waiting:
        reader = None
        try:
            with open_video(path, deadline, options, scan.choice) as video:
                reader = _Reader(video, scan.table, deadline, may_jump=may_jump)
                while waiting and (packet := reader.packet_at(waiting[0])) is not None:
                    waiting.popleft()
                    yield packet
        except VideoError as error:
            # Without a seek, reading again would fail again.
            if reader is None or not reader.has_jumped or error.status is VideoStatus.TIMEOUT:
                raise
        if not reader.has_jumped:
            return  # with all of them, or the file has fewer than before
        may_jump = False


class _Reader:
    """Reads packets of an open file by their places in its table, increasing."""

    def __init__(self, video: OpenVideo, table: PacketTable, deadline: Deadline, *, may_jump: bool) -> None:
        self._video, self._table, self._deadline = video, table, deadline
        self._may_jump = may_jump and not _SEEKABLE.isdisjoint(video.container.format.name.split(","))
        self._packets: Iterator[Packet[VideoStream]] = video.packets(deadline)
        self._next = 0
        """The place of the next packet."""
        self.has_jumped = False
        """Whether there was a seek: each packet is then compared with the table."""

    def packet_at(self, place: int) -> Packet[VideoStream] | None:
        """The packet at a place; None if there is none or, after a seek, another one."""
        if self._may_jump and place - self._next >= JUMP_PACKETS:
            self._jump(place)
        for packet in self._packets:
            self._next += 1
            if self._next > place:
                return packet if not self.has_jumped or self._is_at(packet, place) else None
        return None

    def _jump(self, place: int) -> None:
        """Seek to a key frame that lies behind all earlier packets; if the place is none, nothing is done."""
        table, times = self._table, [self._table.pts[place], self._table.dts[place]]
        if not table.is_key[place] or table.file_end[place] <= table.file_end[place - 1] or NO_TIME in times:
            return
        self.has_jumped = True
        # Demuxers search by pts or by dts. The lesser one lies behind the packet for neither, and ffmpeg seeks
        # backwards.
        self._video.container.seek(int(min(times)), stream=self._video.stream)
        later = dropwhile(lambda packet: _file_end(packet) < table.file_end[place], self._video.packets(self._deadline))
        self._packets, self._next = later, place

    def _is_at(self, packet: Packet[VideoStream], place: int) -> bool:
        return (packet.pts, _file_end(packet)) == (int(self._table.pts[place]), int(self._table.file_end[place]))


def _file_end(packet: Packet[VideoStream]) -> int:
    return 0 if packet.pos is None else packet.pos + packet.size


def planned_timeline(
    table: PacketTable, time_base: Fraction, declared_end: int | None, *, has_b_frames: bool
) -> Timeline | None:
    """The timeline that the packets promise, or None if it cannot be trusted.

    Each rule was taught by files whose frames came out wrong without it. Not trusted are packets without times or with
    equal times, decoding times that go back, a first packet that is no key frame or is shown after another one, fewer
    than two frames, and fake times of B pictures. A trusted timeline is still checked against every decoded frame.

    Args:
        table: Of the whole stream.
        time_base: Seconds a tick.
        declared_end: As in `VideoScan`.
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
    # Raw .h264 has no times at all, and an MPEG-TS that was cut inside a group begins with no key frame.
    if len(times) < 2 or len(times) != len(shown) or times[0] == NO_TIME or not table.is_key[0]:
        return None
    if table.is_shown[0] and table.pts[0] != times[0]:
        return None
    # B pictures are decoded in another order than shown. If their times are in the order of the file, they are fake:
    # H.264 in AVI, which cannot store them, and Xvid in MP4.
    dts = table.dts[table.dts != NO_TIME]
    if bool((dts[1:] < dts[:-1]).any()) or (has_b_frames and bool((shown[1:] > shown[:-1]).all())):
        return None
    last_duration = int(table.duration[table.is_shown][np.argmax(shown)])
    return timeline_of(times, last_duration, time_base, declared_end, table.decoded_end)


def declared_end_of(container: InputContainer, stream: VideoStream, start_pts: int) -> DeclaredEnd | None:
    """The end of the stream by the header, in ticks. Used only for files that lack bytes.

    MP4 has it for the stream. AVI has it as a number of frames of one tick each, and as the length of its index (ffmpeg
    shortens its duration to what is left). Matroska, FLV and ASF have it for the whole file, with its sound. No other
    container is trusted.
    """
    if stream.time_base is None:
        return None
    names = container.format.name.split(",")
    if "avi" in names:
        num_frames = max(stream.frames, 1 + max((entry.timestamp for entry in stream.index_entries), default=-1))
        return DeclaredEnd(start_pts + num_frames, is_exact=True) if num_frames else None
    if "mp4" in names and stream.duration is not None and stream.duration > 0:
        return DeclaredEnd(start_pts + stream.duration, is_exact=True)
    if not _DECLARING.isdisjoint(names) and container.duration is not None:
        # Exact only if all streams are video: the longest one sets the duration of the file.
        ticks = int(container.duration * _MICROSECOND / stream.time_base)
        return DeclaredEnd(ticks, is_exact=len(container.streams.video) == len(container.streams))
    return None
