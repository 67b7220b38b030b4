"""Real, tiny video files for tests, encoded here, and a full sequential decode to compare with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import av.error
import cv2
import numpy as np
from av.audio.stream import AudioStream
from av.stream import Disposition
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

NTSC = Fraction(30000, 1001)


def grey_frames(num_frames: int, *, height: int = 32, width: int = 48) -> NDArray[np.uint8]:
    """Frame i is grey level i: shape (num_frames, height, width, 3)."""
    levels = (np.arange(num_frames) % 256).astype(np.uint8)
    return np.broadcast_to(levels[:, None, None, None], (num_frames, height, width, 3)).copy()


def textured_frames(num_frames: int, *, height: int = 48, width: int = 64, seed: int = 0) -> NDArray[np.uint8]:
    """A smooth coloured texture that moves, so that no two frames are equal: shape (num_frames, height, width, 3)."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    texture = np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC), dtype=np.uint8)
    return np.stack([np.roll(texture, (i, 2 * i), axis=(0, 1)) for i in range(num_frames)])


@dataclass(frozen=True, slots=True)
class Encoding:
    """How a test video is encoded."""

    codec: str = "libx264"
    rate: Fraction = NTSC
    """Frames a second."""
    pix_fmt: str = "yuv420p"
    options: Mapping[str, str] = field(default_factory=dict)
    """Of the encoder."""
    container_options: Mapping[str, str] = field(default_factory=dict)
    format_name: str | None = None
    """None: the container that the file's name asks for."""
    pts: Sequence[int] | None = None
    """Ticks of `time_base`, for a variable rate; None: one frame every 1/rate."""
    time_base: Fraction | None = None
    rotation: float | None = None
    vflip: bool = False
    colorspace: int | None = None
    color_range: int | None = None


def write_video(
    path: Path, frames: Sequence[NDArray[np.uint8]] | NDArray[np.uint8], how: Encoding = Encoding()
) -> Path:
    """Encode RGB frames, each of shape (height, width, 3)."""
    height, width = frames[0].shape[:2]
    with av.open(str(path), "w", format=how.format_name, container_options=dict(how.container_options)) as container:
        stream = container.add_stream(how.codec, rate=how.rate, options=dict(how.options))
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = width, height, how.pix_fmt
        stream.codec_context.thread_count = 1
        if how.time_base is not None:
            stream.codec_context.time_base = how.time_base
        if how.rotation is not None:
            stream.set_display_rotation(how.rotation, vflip=how.vflip)
        if how.colorspace is not None:
            stream.codec_context.colorspace = how.colorspace
        if how.color_range is not None:
            stream.codec_context.color_range = how.color_range
        for index, rgb in enumerate(frames):
            frame = _as_tagged(av.VideoFrame.from_ndarray(rgb, format="rgb24"), how)
            frame.pts = index if how.pts is None else how.pts[index]
            frame.time_base = how.time_base or 1 / how.rate
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def _as_tagged(frame: av.VideoFrame, how: Encoding) -> av.VideoFrame:
    """The frame in the colours of its tags: a stream's tag alone converts nothing."""
    if how.colorspace is None and how.color_range is None:
        return frame
    return frame.reformat(format=how.pix_fmt, dst_colorspace=how.colorspace, dst_color_range=how.color_range, threads=1)


def write_numbered_video(path: Path, num_frames: int, *, rate: Fraction = NTSC) -> Path:
    """A lossless video whose frame i is grey level i (ffv1 in Matroska, unless the name says otherwise)."""
    return write_video(path, grey_frames(num_frames), Encoding(codec="ffv1", pix_fmt="bgr0", rate=rate))


def write_audio(path: Path, *, codec: str = "aac", cover: bool = False) -> Path:
    """A tenth of a second of silence, with a cover picture if asked."""
    with av.open(str(path), "w") as container:
        audio = container.add_stream(codec, rate=48000, layout="mono")
        assert isinstance(audio, AudioStream)
        if cover:
            picture = container.add_stream("mjpeg", rate=Fraction(1))
            assert isinstance(picture, VideoStream)
            picture.width, picture.height, picture.pix_fmt = 32, 32, "yuvj420p"
            picture.disposition = Disposition.attached_pic
            still = av.VideoFrame.from_ndarray(grey_frames(1, height=32, width=32)[0], format="rgb24")
            still.pts = 0
            container.mux(picture.encode(still))
        for index in range(5):
            sound = av.AudioFrame.from_ndarray(np.zeros((1, 960), np.float32), format="fltp", layout="mono")
            sound.sample_rate, sound.pts = 48000, 960 * index
            container.mux(audio.encode(sound))
        container.mux(audio.encode(None))
    return path


def remux(source: Path, target: Path, *, shift: int = 0, options: Mapping[str, str] | None = None) -> Path:
    """Copy the packets of the first video stream into another file, their times moved by `shift` ticks."""
    with av.open(str(source)) as container, av.open(str(target), "w", container_options=dict(options or {})) as output:
        stream = container.streams.video[0]
        copy = output.add_stream_from_template(stream)
        for packet in container.demux(stream):
            if packet.dts is None or packet.pts is None:
                continue
            packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
            packet.stream = copy
            output.mux(packet)
    return target


def cut(source: Path, target: Path, *, keep: float) -> Path:
    """The first part of a file, as an interrupted download leaves it."""
    content = source.read_bytes()
    target.write_bytes(content[: int(len(content) * keep)])
    return target


def damage(source: Path, target: Path, *, at: float, num_bytes: int) -> Path:
    """A copy with bytes inverted from a relative place on."""
    content = bytearray(source.read_bytes())
    start = int(len(content) * at)
    content[start : start + num_bytes] = bytes(255 - byte for byte in content[start : start + num_bytes])
    target.write_bytes(content)
    return target


def decode_all(path: Path, *, skip_refused: bool = False) -> tuple[list[int | None], list[NDArray[np.uint8]]]:
    """Every frame in presentation order by PyAV's own loop: times in ticks, and native RGB without rotation."""
    reformatter = VideoReformatter()
    with av.open(str(path)) as container:
        frames = []
        for packet in container.demux(container.streams.video[0]):
            with suppress(av.error.InvalidDataError) if skip_refused else nullcontext():
                frames += packet.decode()
        pictures = [
            reformatter.reformat(frame, format="rgb24", interpolation="BICUBIC", threads=1).to_ndarray()
            for frame in frames
        ]
        return [frame.pts for frame in frames], [picture.astype(np.uint8) for picture in pictures]


def decode_all_with_opencv(path: Path) -> list[NDArray[np.uint8]]:
    """Every frame that OpenCV gives, RGB, rotated as OpenCV rotates."""
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    pictures: list[NDArray[np.uint8]] = []
    try:
        while True:
            found, picture = capture.read()
            if not found:
                return pictures
            pictures.append(np.ascontiguousarray(picture[:, :, ::-1]).astype(np.uint8))
    finally:
        capture.release()


def open_below(folder: Path) -> list[str]:
    """Files below a folder that this process has open, each as often as it is.

    Not the number of all open files: garbage of other tests may be collected, and threads of libraries may open
    something, while a test runs.
    """
    names = []
    for link in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # closed since it was listed, as the listing itself
            names.append(str(link.readlink()))
    return [name for name in names if name.startswith(f"{folder.resolve()}/")]
