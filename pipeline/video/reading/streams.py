"""Which of several video streams is the video: chosen as players do, and said."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from av.packet import Packet
from av.stream import Disposition
from av.video.stream import VideoStream

from pipeline.run.words import listed, plural

_PICTURES = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image


@dataclass(frozen=True, slots=True)
class StreamChoice:
    """The stream that is the video of a file."""

    index: int
    """In the container."""
    note: str | None = None
    """What else there is, in one line; None if there was no choice."""


def moving_streams(streams: Iterable[VideoStream]) -> tuple[VideoStream, ...]:
    """The video streams of a container that are not flagged as covers, thumbnails or stills."""
    return tuple(stream for stream in streams if not stream.disposition & _PICTURES)


def choose_stream(streams: Sequence[VideoStream], packets: Iterable[Packet[VideoStream]]) -> StreamChoice:
    """Choose the stream that a player shows.

    A stream of a single frame is a thumbnail, whatever its flags: drones write it before the video, and an animated
    AVIF begins with a still. Of the others, one that can be decoded and is flagged as default comes first, then the
    largest picture, the most frames, and the order in the file.

    Args:
        streams: At least two.
        packets: All packets of these streams: frame counts of headers are missing, or wrong, too often.
    """
    counts = Counter(packet.stream_index for packet in packets)

    def rank(stream: VideoStream) -> tuple[bool, bool, bool, int, int, int]:
        height, width = _shape(stream)
        is_default = Disposition.default in stream.disposition
        num_frames = counts[stream.index]
        # -index: of equal streams, the first
        return num_frames > 1, height > 0, is_default, height * width, num_frames, -stream.index

    chosen, *others = sorted(streams, key=rank, reverse=True)
    named = listed([_described(stream, counts[stream.index]) for stream in others])
    return StreamChoice(chosen.index, f"{_described(chosen, counts[chosen.index])} was taken, not {named}")


def _shape(stream: VideoStream) -> tuple[int, int]:
    """Height and width as stored; 0 and 0 if nothing decodes the stream."""
    return (0, 0) if has_no_decoder(stream) else (stream.codec_context.height, stream.codec_context.width)


def _described(stream: VideoStream, num_frames: int) -> str:
    height, width = _shape(stream)
    codec = "no decoder" if has_no_decoder(stream) else stream.codec_context.codec.canonical_name
    return f"video stream {stream.index} ({codec}, {width}x{height}, {plural(num_frames, 'frame')})"


def has_no_decoder(stream: VideoStream) -> bool:
    """Whether ffmpeg was built without a decoder for the stream; PyAV's stubs do not know this case."""
    context: object = stream.codec_context
    return context is None
