"""What is true of a file: every frame of a plain sequential decode, and the clip that follows from its times.

Nothing here is shared with the decoder under test, but for the conversion of one frame to a picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import av.error
import numpy as np
from av.stream import Disposition
from av.video.frame import PictureType, VideoFrame
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from pipeline.video.pictures import square_picture
from pipeline.video.reading.display import Display


def expected_picture(frame: VideoFrame, size: int, pixel_aspect: Fraction) -> NDArray[np.uint8]:
    """The project's own conversion of one decoded frame: shape (size, size, 3)."""
    return square_picture(frame, VideoReformatter(), size, display=Display(pixel_aspect))


@dataclass(frozen=True, slots=True)
class PacketSeen:
    """What the zoo asks of a packet."""

    pts: int | None
    dts: int | None
    duration: int
    is_key: bool
    is_discard: bool
    data: bytes


@dataclass(frozen=True, slots=True)
class FullDecode:
    """Everything that a plain loop over all packets gives."""

    packets: tuple[PacketSeen, ...]
    """Those with data, in decoding order."""
    frames: tuple[VideoFrame, ...]
    """In the order in which the decoder gives them."""
    refused: int
    """Packets that the decoder refused."""
    time_base: Fraction
    rate: Fraction | None
    """Average rate by the header."""
    pixel_aspect: Fraction
    """Width over height of a pixel; 1 if the file does not say."""

    @property
    def kinds(self) -> str:
        """Picture types in order, as letters."""
        return "".join(PictureType(frame.pict_type).name for frame in self.frames)

    @property
    def num_leading(self) -> int:
        """Packets shown before the key frame that they follow."""
        number, key = 0, None
        for packet in self.packets:
            key = packet.pts if packet.is_key else key
            number += key is not None and packet.pts is not None and packet.pts < key
        return number


def decode_fully(path: Path) -> FullDecode:
    """Decode the first video stream that is no cover picture, by PyAV's own loop and one thread."""
    with av.open(str(path)) as container:
        stream = next(s for s in container.streams.video if Disposition.attached_pic not in s.disposition)
        stream.thread_count = 1
        packets, frames, refused = [], [], 0
        for packet in container.demux(stream):
            if packet.size:
                packets.append(
                    PacketSeen(
                        packet.pts,
                        packet.dts,
                        packet.duration or 0,
                        is_key=packet.is_keyframe,
                        is_discard=packet.is_discard,
                        data=bytes(packet),
                    )
                )
            try:
                frames += packet.decode()
            except av.error.InvalidDataError:
                refused += 1
        assert stream.time_base is not None
        aspect = stream.sample_aspect_ratio or Fraction(1)
        return FullDecode(tuple(packets), tuple(frames), refused, stream.time_base, stream.average_rate, aspect)


@dataclass(frozen=True, slots=True)
class ExpectedClip:
    """The clip by the definition."""

    frame_index: list[int]
    pts_seconds: list[float]


def shown_at_centres(times: Sequence[Fraction], end: Fraction, num_frames: int) -> list[int]:
    """The definition: the span from the first frame to `end` in equal parts, of each the frame shown at its centre."""
    span = (end - times[0]) / num_frames
    centres = [times[0] + span * i + span / 2 for i in range(num_frames)]
    return [max(place for place, time in enumerate(times) if time <= centre) for centre in centres]


def clip_by_times(whole: FullDecode, num_frames: int) -> ExpectedClip:
    """The clip of a file whose frames carry true times.

    The last frame is shown for as long as its packet says, or else for the mean interval, in whole ticks.
    """
    ticks = [frame.pts for frame in whole.frames if frame.pts is not None]
    assert len(ticks) == len(whole.frames)
    assert ticks == sorted(set(ticks))
    said = [packet.duration for packet in whole.packets if packet.pts == ticks[-1]]
    mean = max(1, round(Fraction(ticks[-1] - ticks[0], len(ticks) - 1)))
    end = ticks[-1] + (max(said, default=0) or mean)
    index = shown_at_centres([Fraction(tick) for tick in ticks], Fraction(end), num_frames)
    return ExpectedClip(index, [float((ticks[place] - ticks[0]) * whole.time_base) for place in index])


def clip_by_count(whole: FullDecode, num_frames: int) -> ExpectedClip:
    """The clip of a file without true times: frame i is shown at i over the rate of the header."""
    assert whole.rate
    times = [Fraction(place) for place in range(len(whole.frames) + 1)]
    index = shown_at_centres(times[:-1], times[-1], num_frames)
    return ExpectedClip(index, [float(place / whole.rate) for place in index])
