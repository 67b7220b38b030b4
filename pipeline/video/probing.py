"""When the frames of a video are shown, learnt from its packets without decoding them where they can be believed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av.error
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from pipeline.video.clips import VideoError
from pipeline.video.opening import Deadline, open_video
from pipeline.video.timeline import Timeline, timeline_of
from store.schema import VideoStatus

_MICROSECOND = Fraction(1, 1_000_000)
"""The unit of a container's duration in ffmpeg."""


@dataclass(frozen=True, slots=True)
class PacketFacts:
    """What is kept of a packet; all times in ticks of the stream's time base."""

    pts: int | None
    dts: int | None
    duration: int
    is_key: bool
    is_corrupt: bool
    is_discard: bool
    """Decoded for others to refer to, but outside an edit list: never shown."""

    @classmethod
    def of(cls, packet: Packet[VideoStream]) -> PacketFacts:
        """Read them off a packet."""
        return cls(
            packet.pts,
            packet.dts,
            packet.duration or 0,
            packet.is_keyframe,
            packet.is_corrupt,
            packet.is_discard,
        )


def scan_packets(
    container: InputContainer, stream: VideoStream, deadline: Deadline, *, cut_off: bool
) -> tuple[PacketFacts, ...]:
    """Read every packet of the stream without decoding it, in the order of the file.

    Of a file that was cut off, an error while reading and broken packets at the end are taken as its end.

    Raises:
        VideoError: `TIMEOUT`.
        av.error.FFmpegError: A whole file cannot be read to its end.
    """
    packets: list[PacketFacts] = []
    try:
        for packet in container.demux(stream):
            deadline.check()
            if _is_flush(packet):
                break
            if packet.size:
                packets.append(PacketFacts.of(packet))
    except (av.error.InvalidDataError, av.error.OSError):
        if not cut_off:
            raise
    while cut_off and packets and packets[-1].is_corrupt:
        packets.pop()
    return tuple(packets)


def _is_flush(packet: Packet[VideoStream]) -> bool:
    """Whether it is PyAV's mark for the end of the stream, and not a frame that an AVI says was dropped.

    PyAV 18.1 must not be read beyond it: for streams that turned up while reading it raises IndexError there.
    """
    return packet.size == 0 and packet.pts is None and packet.dts is None and packet.pos is None


def planned_timeline(
    packets: Sequence[PacketFacts], time_base: Fraction, declared_end: int | None, *, has_b_frames: bool
) -> Timeline | None:
    """The timeline that the packets promise, or None where it cannot be believed.

    Not believed: packets without times or with equal ones, a first packet that is no key frame, fewer than two frames,
    and B pictures whose presentation order is said to be the decoding order (times that an AVI cannot hold). Packets
    outside an edit list are no frames. What is believed is still checked against every frame decoded.

    Args:
        packets: In the order of the file.
        time_base: Seconds a tick.
        declared_end: Where a file that was cut off was to end, in ticks; None for a whole file.
        has_b_frames: Whether pictures are decoded in another order than shown.

    >>> def packet(pts, dts):
    ...     return PacketFacts(pts, dts, 1, dts == 0, False, False)
    >>> planned_timeline([packet(1, 0), packet(3, 1), packet(2, 2)], Fraction(1, 25), None, has_b_frames=True).pts
    array([1, 2, 3])
    >>> planned_timeline([packet(0, 0), packet(1, 1), packet(2, 2)], Fraction(1, 25), None, has_b_frames=True) is None
    True
    """
    times = [packet.pts for packet in packets if packet.pts is not None and not packet.is_discard]
    num_shown = sum(not packet.is_discard for packet in packets)
    if num_shown < 2 or len(times) != num_shown or len(set(times)) != num_shown or not packets[0].is_key:
        return None
    if has_b_frames and len({_reordering(packet) for packet in packets}) == 1:
        return None
    last = max((packet for packet in packets if not packet.is_discard), key=lambda packet: packet.pts or 0)
    return timeline_of(sorted(times), last.duration, time_base, declared_end, decoded_end(packets))


def _reordering(packet: PacketFacts) -> int | None:
    return None if packet.pts is None or packet.dts is None else packet.pts - packet.dts


def decoded_end(packets: Sequence[PacketFacts]) -> int | None:
    """The decoding time at which the packets end: any later packet would be shown at or after it."""
    if not packets or packets[-1].dts is None:
        return None
    return packets[-1].dts + max(1, packets[-1].duration)


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


@dataclass(frozen=True, slots=True)
class VideoScan:
    """What a video's packets and header say."""

    packets: tuple[PacketFacts, ...]
    """In the order of the file."""
    timeline: Timeline | None
    """As the packets promise it, or None where they cannot be believed."""
    time_base: Fraction
    """Seconds a tick."""
    average_rate: Fraction | None
    """Frames a second by the header; used only for frames without times."""
    declared_end: int | None
    """Where a file that was cut off was to end, in ticks; None for a whole file."""
    codec: str
    is_cut_off: bool

    @property
    def start_pts(self) -> int:
        """The earliest time of a packet that is shown, in ticks; 0 when none has a time."""
        return _start_of(self.packets)


def scan_video(path: Path, deadline: Deadline, *, cut_off: bool) -> VideoScan:
    """Open a video and read its packets without decoding them.

    Raises:
        VideoError: As `open_video`; `CORRUPT` when the packets cannot be read; `TOO_SHORT` when there are none.
    """
    with open_video(path, deadline) as (container, stream):
        packets = scan_packets(container, stream, deadline, cut_off=cut_off)
        if stream.time_base is None or not packets:
            raise VideoError(VideoStatus.TOO_SHORT, "the video stream has 0 frames")
        declared_end = declared_end_of(container, stream, _start_of(packets)) if cut_off else None
        has_b_frames = bool(stream.codec_context.has_b_frames)
        return VideoScan(
            packets=packets,
            timeline=planned_timeline(packets, stream.time_base, declared_end, has_b_frames=has_b_frames),
            time_base=stream.time_base,
            average_rate=stream.average_rate or stream.guessed_rate,
            declared_end=declared_end,
            codec=stream.codec_context.codec.canonical_name,
            is_cut_off=cut_off,
        )


def _start_of(packets: Sequence[PacketFacts]) -> int:
    return min((packet.pts for packet in packets if packet.pts is not None and not packet.is_discard), default=0)
