"""One video, made playable in a browser. Runs in a process of its own, since the file may come from anybody."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error
import numpy as np
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from pipeline.serving.media.playable import SOUNDS, Way, container_of, content_type, way_of
from pipeline.serving.media.times import PacketTimes, decoding_times, packet_times
from pipeline.video.options import DecodeOptions, Window
from pipeline.video.reading.opening import (
    Deadline,
    OpenVideo,
    check_file,
    demux,
    extent_of,
    open_video,
    refuse_missing_index,
)
from pipeline.video.reading.probing import VideoScan, scan_video

MAX_SIDE = 1280
"""Pixels of the longer side of a transcoded picture."""
MAX_SCANNED_BYTES = 64 << 20
"""Larger files that browsers play go out as they are: to look at all packets would take longer than a viewer waits."""
SOUND_RATE = 48000
_TICKS = 90_000
"""A second, of transcoded pictures."""
_KEY_FRAMES_APART = 30
"""Transcoded pictures: to seek is to decode so many at most."""


@dataclass(frozen=True, slots=True)
class MediaRequest:
    """A video, or the part of it that is a clip, to be made playable."""

    path: Path
    window: Window
    target: Path
    """Written unless the file can go out as it is."""
    max_seconds: float
    """Of a transcoded video; what comes later is left out."""
    timeout_seconds: float


@dataclass(frozen=True, slots=True)
class Prepared:
    """How a video is played."""

    way: Way
    content_type: str
    offset_seconds: float
    """Time in the video at which the player's clock is 0."""
    note: str | None = None
    """What the viewer should know."""


@dataclass(frozen=True, slots=True)
class _Source:
    """A file that was looked at."""

    request: MediaRequest
    options: DecodeOptions
    deadline: Deadline
    scan: VideoScan

    def open(self) -> AbstractContextManager[OpenVideo]:
        """The file, opened again from its start."""
        return open_video(self.request.path, self.deadline, self.options, self.scan.choice)


def answer(request: MediaRequest) -> Iterator[Prepared]:
    """What a process of `pipeline.isolation` does for a request: `prepare`, once."""
    yield prepare(request)


def prepare(request: MediaRequest) -> Prepared:
    """Decide how a video is played, and write the file that is needed for that.

    Raises:
        VideoError: The file is missing, is no video, is damaged, or takes too long.
    """
    path, options = request.path, DecodeOptions(num_frames=2, timeout_seconds=request.timeout_seconds)
    deadline = Deadline(request.timeout_seconds)
    check_file(path)
    extent = extent_of(path)
    # Before FFmpeg opens it: it would look for the index in the whole of a cut-off file.
    refuse_missing_index(path, extent)
    with open_video(path, deadline, options) as video:
        way, direct = way_of(video.container, video.stream), None
        if way is Way.DIRECT:
            direct = Prepared(way, content_type(video.container), 0.0)
            if path.stat().st_size > MAX_SCANNED_BYTES:
                return direct
        source = _Source(request, options, deadline, scan_video(video, extent, options, deadline))
    if direct is not None and source.scan.timeline is not None and source.scan.table.is_shown.all():
        return direct
    # Where the times of a file are fake, or an edit list leaves frames out, each browser shows something else.
    way = Way.COPY if direct is not None else way
    times = packet_times(path, source.scan, options, deadline) if way is Way.COPY else None
    if times is not None:
        try:
            return _copied(source, times)
        except av.error.FFmpegError:  # the container does not take the packets as they are
            deadline.check()
    return _transcoded(source)


def _copied(source: _Source, times: PacketTimes) -> Prepared:
    part = times.part(source.request.window)
    shift = int(times.pts[part.start])
    # Pictures that are decoded after the first key frame and shown before it refer to what is left out.
    numbers = [number for number in range(part.start, part.stop) if times.pts[number] >= shift]
    # The player's clock starts at the key frame; `offset` says which time of the video that is.
    pts = times.pts[numbers] - shift
    # `place`: number of the packet in the file -> its place in `pts`.
    dts, place = decoding_times(pts), dict(zip(numbers, itertools.count()))
    # One time more than pictures: the last one lasts as long as the others do on average.
    in_order = np.append(
        np.sort(pts), pts.max(initial=0) + max(1, round(float(np.diff(np.sort(pts)).mean() if len(pts) > 1 else 1)))
    )
    # Each picture lasts until the next one in time, which is not the next in the file.
    lasts = in_order[np.searchsorted(in_order, pts) + 1] - pts
    offset = float(shift * times.time_base)
    container = container_of(source.scan.codec)
    with source.open() as video, _output(source, container) as output:
        copy = output.add_stream_from_template(video.stream)
        sound = _Sound.of(video, output, container, _start_of(source.scan) + offset)
        counted = itertools.count()
        for packet in demux(video.container, [video.stream, *sound.streams], source.deadline):
            if packet.stream is not video.stream:
                sound.take(packet)
            # Empty packets are not counted: they are no pictures, and the times have none of them.
            elif packet.size and (at := place.get(next(counted))) is not None:
                packet.pts, packet.dts, packet.duration = int(pts[at]), int(dts[at]), int(lasts[at])
                packet.time_base, packet.stream = times.time_base, copy
                output.mux(packet)
        sound.end()
    return Prepared(Way.COPY, f"video/{container}", offset, sound.note or None)


def _transcoded(source: _Source) -> Prepared:
    request, scan = source.request, source.scan
    start = request.window.start_seconds
    end = min(request.window.end_seconds or np.inf, start + request.max_seconds)
    is_cut = False
    with source.open() as video, _output(source, "mp4") as output:
        picture = _Pictures(video, output)
        sound = _Sound.of(video, output, "mp4", _start_of(scan) + start)
        numbers = itertools.count()
        for packet in demux(video.container, [video.stream, *sound.streams], source.deadline):
            if packet.stream is not video.stream:
                sound.take(packet)
                continue
            for frame in _decoded(packet):
                seconds = _seconds(frame, next(numbers), scan)
                is_cut = is_cut or (seconds >= end and request.window.end_seconds is None)
                if start <= seconds < end:
                    picture.add(frame, seconds - start)
            if is_cut:
                break
        picture.end()
        sound.end()
    notes = [f"only the first {request.max_seconds:g} s were transcoded" if is_cut else None, sound.note]
    return Prepared(Way.TRANSCODE, "video/mp4", start, "; ".join(filter(None, notes)) or None)


def _decoded(packet: Packet[Any]) -> list[VideoFrame]:
    try:
        return packet.decode()
    except av.error.InvalidDataError:  # a damaged picture; the next ones may be whole
        return []


def _start_of(scan: VideoScan) -> float:
    """The container's time of the first frame, in seconds."""
    return float(scan.table.start_pts * scan.time_base)


def _seconds(frame: VideoFrame, number: int, scan: VideoScan) -> float:
    """When a frame is shown, from the first frame on."""
    if scan.timeline is not None and frame.pts is not None:
        return float((frame.pts - scan.timeline.start_pts) * scan.time_base)
    # As packets are timed in `packet_times`; 25 where the file names no rate at all.
    return float(number / (scan.average_rate or 25))


def _output(source: _Source, container: str) -> OutputContainer:
    # The index before the pictures: a browser plays before it has the whole file.
    options = {"movflags": "+faststart"} if container == "mp4" else {}
    return av.open(str(source.request.target), "w", format=container, options=options)


class _Pictures:
    """Encodes pictures as H.264."""

    def __init__(self, video: OpenVideo, output: OutputContainer) -> None:
        context = video.stream.codec_context
        height, width = video.display().shape_of(context.height, context.width)
        scale = min(1.0, MAX_SIDE / max(height, width))
        # Even: yuv420p has one colour for 2 x 2 pixels.
        self._width, self._height = (max(2, 2 * round(side * scale / 2)) for side in (width, height))
        self._output, self._reformatter, self._last = output, VideoReformatter(), -1
        # The rate is a hint to the encoder; times are given in ticks.
        stream = output.add_stream(
            "libx264", rate=Fraction(30), options={"preset": "veryfast", "crf": "23", "g": str(_KEY_FRAMES_APART)}
        )
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = self._width, self._height, "yuv420p"
        stream.codec_context.time_base = Fraction(1, _TICKS)
        stream.codec_context.thread_count = 2
        self._stream = stream

    def add(self, frame: VideoFrame, seconds: float) -> None:
        """Encode a picture that is shown at a time later than the last one's."""
        pts = round(seconds * _TICKS)
        # Times that stand still or go back, as files have them: MP4 refuses the packet.
        if pts <= self._last:
            return
        # Set before the first picture is encoded: the header is written with it.
        if self._last < 0 and frame.rotation:
            self._stream.set_display_rotation(frame.rotation)
        shown = self._reformatter.reformat(frame, self._width, self._height, format="yuv420p")
        shown.pts, shown.time_base, self._last = pts, Fraction(1, _TICKS), pts
        shown.pict_type = 0  # the encoder decides which pictures are key frames
        self._output.mux(self._stream.encode(shown))

    def end(self) -> None:
        """Write what the encoder still holds."""
        self._output.mux(self._stream.encode(None))


class _Sound:
    """Copies the first sound of a file, or encodes it as AAC."""

    def __init__(self, streams: Sequence[AudioStream], output: OutputContainer, container: str, start: float) -> None:
        self.streams, self.note = streams, ""
        self._output, self._start, self._resampler = output, start, None
        if not streams:
            return
        if streams[0].codec_context.codec.canonical_name in SOUNDS[container]:
            self._target = output.add_stream_from_template(streams[0])
        else:
            encoder = "aac" if container == "mp4" else "libopus"
            self._resampler = AudioResampler(
                format="fltp" if container == "mp4" else "flt",
                layout="stereo",
                rate=SOUND_RATE,
                # Samples of a frame: AAC takes 1024, Opus 20 ms, which are 960 at 48 kHz.
                frame_size=1024 if container == "mp4" else 960,
            )
            target = output.add_stream(encoder, rate=SOUND_RATE, layout="stereo")
            assert isinstance(target, AudioStream)
            self._target = target

    @classmethod
    def of(cls, video: OpenVideo, output: OutputContainer, container: str, start: float) -> _Sound:
        """The sound of a file, from a time of its container on."""
        streams = [one for one in video.container.streams.audio[:1] if getattr(one, "codec_context", None) is not None]
        return cls(streams, output, container, start)

    def take(self, packet: Any) -> None:
        """Write a packet of the sound, unless it lies before the start."""
        if packet.pts is None or not packet.size:
            return
        shift = round(Fraction(self._start) / packet.time_base)
        if packet.pts < shift:
            return
        packet.pts -= shift
        # Frames of sound are decoded in the order in which they are heard.
        packet.dts = packet.pts
        if self._resampler is None:
            packet.stream = self._target
            self._output.mux(packet)
            return
        try:
            frames = packet.decode()
        except av.error.FFmpegError:
            self.note = "part of the sound cannot be decoded"
            return
        for frame in frames:
            for resampled in self._resampler.resample(frame):
                self._output.mux(self._target.encode(resampled))

    def end(self) -> None:
        """Write what the encoder still holds."""
        if self._resampler is not None:
            for resampled in self._resampler.resample(None):
                self._output.mux(self._target.encode(resampled))
            self._output.mux(self._target.encode(None))
