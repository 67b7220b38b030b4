"""What browsers play: which files go out as they are, whose packets need another container, and what is transcoded.

The list is what current Chromium, Firefox and Safari all play without a licence of the operating system. HEVC is not in
it: each of them plays it on some machines only.
"""

from __future__ import annotations

from enum import StrEnum

import av.error
from av.container import InputContainer
from av.video.stream import VideoStream

_PICTURES = {
    "h264": {"yuv420p", "yuvj420p"},
    "vp8": {"yuv420p"},
    "vp9": {"yuv420p"},
    "av1": {"yuv420p", "yuv420p10le"},
}
"""Codec -> formats of pictures that all browsers decode."""
SOUNDS = {"mp4": {"aac", "mp3", "opus", "flac"}, "webm": {"opus", "vorbis"}}
"""Container -> codecs of sound that browsers play in it."""
_VIDEOS = {"mp4": {"h264", "vp9", "av1"}, "webm": {"vp8", "vp9", "av1"}}
_LATEST_START, _EARLIEST_SOUND = 0.001, -0.1
"""Seconds. A browser's clock starts with the first picture or sound. Times fit only if the pictures start at 0; sound
may be declared to start a little earlier, which is its encoder's delay."""


class Way(StrEnum):
    """How a video gets to a browser."""

    DIRECT = "direct"
    """The file as it is."""
    COPY = "copied"
    """Its packets in another container."""
    TRANSCODE = "transcoded"


def container_of(codec: str) -> str:
    """The container that packets of a codec are copied into.

    >>> container_of("h264"), container_of("vp8")
    ('mp4', 'webm')
    """
    return "mp4" if codec in _VIDEOS["mp4"] else "webm"


def way_of(container: InputContainer, stream: VideoStream) -> Way:
    """How a video gets to a browser, by its headers."""
    context = stream.codec_context
    codec = context.codec.canonical_name
    if context.pix_fmt not in _PICTURES.get(codec, set()):
        return Way.TRANSCODE
    kind = _kind(container)
    fits = codec in _VIDEOS.get(kind or "", set()) and _sound_fits(container, kind or "")
    return Way.DIRECT if fits and _starts_at_zero(container, stream) else Way.COPY


def content_type(container: InputContainer) -> str:
    """Of a file that goes out as it is.

    Browsers look into the file as well: a QuickTime file plays as MP4.
    """
    return f"video/{_kind(container)}"


def _kind(container: InputContainer) -> str | None:
    """`mp4`, `webm`, or None for any other container."""
    # FFmpeg has one demuxer for the family, named "mov,mp4,m4a,3gp,3g2,mj2".
    names = container.format.name.split(",")
    if "mp4" in names:
        return "mp4"
    # The demuxer is the same for Matroska, which not all browsers play. WebM has only these codecs.
    inside = {one.codec_context.name for one in container.streams if one.type in ("video", "audio")}
    is_webm = "webm" in names and container.name.lower().endswith(".webm") and bool(inside)
    return "webm" if is_webm else None


def _sound_fits(container: InputContainer, kind: str) -> bool:
    try:
        return all(one.codec_context.codec.canonical_name in SOUNDS[kind] for one in container.streams.audio)
    except (AttributeError, av.error.FFmpegError):  # nothing here decodes it
        return False


def _starts_at_zero(container: InputContainer, stream: VideoStream) -> bool:
    if stream.time_base is None:
        return False
    first = float((stream.start_time or 0) * stream.time_base)
    # Of all streams; in microseconds.
    earliest = (container.start_time or 0) / av.time_base
    return abs(first) < _LATEST_START and _EARLIEST_SOUND <= earliest < _LATEST_START
