"""fda's decoding at the videos' own size, so that decoders can be compared; and the calls of libav in it, alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from unittest.mock import patch

import av
import numpy as np
from av.codec.context import ThreadType
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from pipeline.video import drawing
from pipeline.video.decoding import decode_clip, planned_timeline_of
from pipeline.video.frame_plan import plan_clip, plan_packets
from pipeline.video.options import WHOLE_VIDEO, DecodeOptions
from pipeline.video.pictures import Album, Picture
from pipeline.video.reading.opening import Deadline
from pipeline.video.reading.scanned import open_scanned


def _converted(frame: VideoFrame, reformatter: VideoReformatter) -> NDArray[np.uint8]:
    """As the peers do it."""
    rgb = reformatter.reformat(frame, format="rgb24", interpolation="BICUBIC", threads=1).to_ndarray()
    return rgb.astype(np.uint8, copy=False)


class NativeAlbum(Album):
    """Converts as the peers do, and keeps what comes out."""

    last: NativeAlbum
    """That of the last clip."""

    def add(self, place: int, frame: VideoFrame) -> None:
        self._pictures[place] = Picture(_converted(frame, self._reformatter), frame.height, frame.width)

    def picture(self, place: int) -> NDArray[np.uint8]:
        NativeAlbum.last = self
        return np.zeros((1, 1, 3), dtype=np.uint8)

    def native(self) -> list[NDArray[np.uint8]]:
        """Each of shape (height, width, 3), in order."""
        return [self._pictures[place].rgb for place in sorted(self._pictures)]


def decode_native(path: str, num_frames: int) -> list[NDArray[np.uint8]]:
    """The frames that `decode_clip` would draw, at their own size."""
    with patch.object(drawing, "Album", NativeAlbum):
        decode_clip(Path(path), _options(num_frames))
    return NativeAlbum.last.native()


def _options(num_frames: int) -> DecodeOptions:
    return DecodeOptions(num_frames, image_size=1, min_side=1)


@dataclass(frozen=True, slots=True)
class Choice:
    """What fda decodes of a video."""

    segments: Sequence[Sequence[int]]
    """Packets by their numbers; the decoder restarts with each segment."""
    ticks: frozenset[int]
    """Of the frames that are wanted."""


@cache  # asked for once before it counts
def choice_of(path: str, num_frames: int) -> Choice:
    """What `decode_clip` decodes for some frames.

    Raises:
        ValueError: Its packets have no usable times.
    """
    options = _options(num_frames)
    with open_scanned(Path(path), options, Deadline(60)) as file:
        timeline = planned_timeline_of(file.scan, options)
        if timeline is None:
            raise ValueError("its packets cannot be planned")
        wanted = plan_clip(timeline, file.scan, options, WHOLE_VIDEO).wanted
        segments = plan_packets(timeline, wanted, file.scan).segments
        ticks = frozenset(int(timeline.pts[place]) for place in wanted)
        return Choice([segment.packets.tolist() for segment in segments], ticks)


def decode_barely(path: str, num_frames: int) -> list[NDArray[np.uint8]]:
    """The same frames by the calls of libav that fda cannot do without, and nothing else: how fast it could be.

    The loop opens the file, reads all packets, sends the decoder those that fda has chosen, and converts the wanted
    frames; it is told which they are, and checks nothing.
    """
    choice, reformatter = choice_of(path, num_frames), VideoReformatter()
    frames: list[NDArray[np.uint8]] = []
    with av.open(path) as container:
        stream = container.streams.video[0]
        decoder = stream.codec_context
        decoder.thread_count, decoder.thread_type = 1, ThreadType.NONE
        packets = [packet for packet in container.demux(stream) if packet.size]
        for segment in choice.segments:
            for packet in [*(packets[number] for number in segment), None]:  # None: it holds no frame back
                given = decoder.decode(packet)
                frames += [_converted(frame, reformatter) for frame in given if frame.pts in choice.ticks]
            decoder.flush_buffers()
    return frames
