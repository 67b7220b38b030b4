"""Encoding and editing the files of the zoo: small, quick, and the same at every run."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
from av.packet import Packet
from av.stream import Disposition
from av.video.stream import VideoStream
from numpy.typing import NDArray
from PIL import Image

from tests.videos import NTSC, Encoding, textured_frames, write_video

Maker = Callable[[Path], Path]
QUIET = "threads=1:lookahead-threads=1:log-level=none:scenecut=0"
"""x264 with one thread gives the same bytes at every run."""


def moving(num_frames: int, height: int = 48, width: int = 64, *, seed: int = 0) -> NDArray[np.uint8]:
    """A texture that moves, under noise that differs from frame to frame: shape (num_frames, height, width, 3)."""
    noise = np.random.default_rng(seed).integers(-6, 7, (num_frames, height, width, 1))
    frames = textured_frames(num_frames, height=height, width=width, seed=seed) + noise
    return np.asarray(np.clip(frames, 0, 255), dtype=np.uint8)


def x264(params: str = "", **options: object) -> dict[str, str]:
    """Options of libx264: `params` in its own words after those that make it quiet, the others in ffmpeg's."""
    return {"x264-params": f"{QUIET}:{params}".rstrip(":"), "bf": "3", "g": "250"} | {
        name: str(value) for name, value in options.items()
    }


def x265(params: str = "") -> dict[str, str]:
    """Options of libx265."""
    return {"x265-params": f"log-level=none:pools=none:frame-threads=1:{params}".rstrip(":"), "preset": "ultrafast"}


def coded(num_frames: int, codec: str = "libx264", size: tuple[int, int] = (48, 64), **arguments: object) -> Maker:
    """A maker that encodes `moving` frames of (height, width) as `write_video` does."""
    return lambda path: write_video(path, moving(num_frames, *size), Encoding(codec=codec, **arguments))  # type: ignore[arg-type]


def tagged(num_frames: int, codec: str, options: Mapping[str, str], pix_fmt: str = "yuv420p", **tags: object) -> Maker:
    """A maker that sets attributes of the coder, such as `sample_aspect_ratio`, `color_trc` or `flags`."""

    def make(path: Path) -> Path:
        with av.open(str(path), "w") as container:
            stream = container.add_stream(codec, rate=NTSC, options=dict(options))
            assert isinstance(stream, VideoStream)
            stream.width, stream.height, stream.pix_fmt = 64, 48, pix_fmt
            stream.codec_context.thread_count = 1
            for name, value in tags.items():
                setattr(stream.codec_context, name, value)
            for index, rgb in enumerate(moving(num_frames)):
                frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
                frame.pts, frame.time_base = index, 1 / NTSC
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        return path

    return make


def edited(
    make: Maker,
    edit: Callable[[list[Packet[VideoStream]]], Iterable[Packet[VideoStream]]],
    *,
    suffix: str = "",
    options: Mapping[str, str] | None = None,
) -> Maker:
    """A maker that copies the packets of another's file, after `edit` has changed, dropped or reordered them.

    Args:
        make: Makes the source.
        edit: Takes all packets that carry data, in decoding order.
        suffix: Of the source file, where it is of another container.
        options: Of the muxer that writes the copy.
    """

    def remake(path: Path) -> Path:
        source = make(path.with_name(f"source.{path.stem}{suffix or path.suffix}"))
        with av.open(str(source)) as container, av.open(str(path), "w", container_options=dict(options or {})) as copy:
            stream = container.streams.video[0]
            target = copy.add_stream_from_template(stream)
            for packet in edit([packet for packet in container.demux(stream) if packet.size]):
                packet.stream = target
                copy.mux(packet)
        source.unlink()
        return path

    return remake


def shifted(ticks: int) -> Callable[[list[Packet[VideoStream]]], Iterable[Packet[VideoStream]]]:
    """An edit that moves all times."""

    def shift(packets: list[Packet[VideoStream]]) -> Iterable[Packet[VideoStream]]:
        for packet in packets:
            assert packet.pts is not None
            assert packet.dts is not None
            packet.pts, packet.dts = packet.pts + ticks, packet.dts + ticks
            yield packet

    return shift


def pts_as_dts(packets: list[Packet[VideoStream]]) -> Iterable[Packet[VideoStream]]:
    """An edit that gives frames the times of decoding, as old muxers did."""
    start = packets[0].dts
    for packet in packets:
        assert packet.dts is not None
        assert start is not None
        packet.pts = packet.dts = packet.dts - start
        yield packet


def _with_data(packet: Packet[VideoStream], data: bytes) -> Packet[VideoStream]:
    changed = cast("Packet[VideoStream]", Packet(data))
    changed.pts, changed.dts, changed.time_base = packet.pts, packet.dts, packet.time_base
    changed.is_keyframe = packet.is_keyframe
    if packet.duration is not None:
        changed.duration = packet.duration
    return changed


def with_hidden_vp8(packets: list[Packet[VideoStream]]) -> Iterable[Packet[VideoStream]]:
    """An edit that hides every tenth picture of VP8, which is still decoded for others to refer to."""
    for place, packet in enumerate(packets):
        data = bytearray(bytes(packet))
        if place and place % 10 == 0:
            data[0] &= ~0x10  # show_frame (RFC 6386, 9.1)
        yield _with_data(packet, bytes(data))


def with_repeats_vp9(packets: list[Packet[VideoStream]]) -> Iterable[Packet[VideoStream]]:
    """An edit that puts in place of every tenth picture of VP9 an order to show one again that is kept for reference.

    What came to be predicted from the lost pictures is decoded to something else, the same in every decoder.
    """
    for place, packet in enumerate(packets):
        repeats = place % 10 == 9
        yield _with_data(packet, bytes([0b10001000 | place // 10 % 3]) if repeats else bytes(packet))


def with_packed_b(packets: list[Packet[VideoStream]]) -> Iterable[Packet[VideoStream]]:
    """An edit that packs MPEG-4 as DivX did for AVI: a P picture and the B before it in one packet, then an empty one.

    The packets are to come as I P B P B ... at 30 frames a second.
    """
    frames = [bytes(packet) for packet in packets]
    empty_picture = bytes.fromhex("000001b6") + int("0101000010111111", 2).to_bytes(2, "big")  # P, "not coded"
    packed, place = [], 0
    while place < len(frames):
        has_b = place + 1 < len(frames) and _mpeg4_kind(frames[place + 1]) == "B"
        packed += [frames[place] + frames[place + 1], empty_picture] if has_b else [frames[place]]
        place += 1 + has_b
    first = packed[0].index(bytes.fromhex("000001b6"))
    packed[0] = packed[0][:first] + bytes.fromhex("000001b2") + b"DivX503b1393p" + packed[0][first:]
    for packet, data in zip(packets, packed, strict=True):
        changed = _with_data(packet, data)
        changed.pts = packet.dts
        changed.is_keyframe = _mpeg4_kind(data) == "I"
        yield changed


def _mpeg4_kind(data: bytes) -> str:
    """The type of the first picture, by the two bits after its start code."""
    return "IPBS"[data[data.index(bytes.fromhex("000001b6")) + 4] >> 6]


def joined(first: Maker, second: Maker) -> Maker:
    """A maker that appends the bytes of one file to another's; both of a kind that may be cut and pasted."""

    def make(path: Path) -> Path:
        parts = [maker(path.with_name(f"part{i}.{path.name}")) for i, maker in enumerate((first, second))]
        path.write_bytes(b"".join(part.read_bytes() for part in parts))
        for part in parts:
            part.unlink()
        return path

    return make


def rewritten(make: Maker, rewrite: Callable[[bytes], bytes]) -> Maker:
    """A maker that changes the bytes of another's file."""

    def remake(path: Path) -> Path:
        make(path).write_bytes(rewrite(path.read_bytes()))
        return path

    return remake


def without_start(fraction: float, grain: int) -> Callable[[bytes], bytes]:
    """A rewrite that drops the first part, in whole grains of bytes (188: the packets of MPEG-TS)."""
    return lambda content: content[int(len(content) * fraction) // grain * grain :]


def with_edits(edits: Sequence[tuple[int, int]]) -> Callable[[bytes], bytes]:
    """A rewrite that gives an mp4, its index last, an edit list.

    Its entries are (duration, first tick), the one in ticks of the movie, the other of the media.
    The edit list that is there is replaced, and the boxes around it grow: nothing that follows the index moves.
    """
    entries = b"".join(struct.pack(">IiI", duration, start, 0x10000) for duration, start in edits)
    body = struct.pack(">II", 0, len(edits)) + entries
    boxes = struct.pack(">I4s", 16 + len(body), b"edts") + struct.pack(">I4s", 8 + len(body), b"elst") + body

    def rewrite(content: bytes) -> bytes:
        changed = bytearray(content)
        place = changed.index(b"edts") - 4
        grown = len(boxes) - int.from_bytes(changed[place : place + 4], "big")
        changed[place : place + len(boxes) - grown] = boxes
        for kind in (b"moov", b"trak"):
            start = changed.index(kind) - 4
            changed[start : start + 4] = (int.from_bytes(changed[start : start + 4], "big") + grown).to_bytes(4, "big")
        return bytes(changed)

    return rewrite


def with_size_change(path: Path) -> Path:
    """One TS in which the picture changes its size half-way, its times going on."""
    frames = [list(moving(30, 48, 64)), list(moving(30, 80, 60, seed=1))]
    with av.open(str(path), "w") as container:
        target: VideoStream | None = None
        for part, pictures in enumerate(frames):
            raw = write_video(
                path.with_name(f"part{part}.mp4"), pictures, Encoding(options=x264(g=10), rate=Fraction(25))
            )
            with av.open(str(raw)) as source:
                stream = source.streams.video[0]
                target = target or container.add_stream_from_template(stream)
                annexb = av.bitstream.BitStreamFilterContext("h264_mp4toannexb", stream)
                for packet in source.demux(stream):
                    for unit in annexb.filter(packet) if packet.size else []:
                        assert unit.pts is not None
                        assert unit.dts is not None
                        unit.pts, unit.dts = (time + part * 30 * 512 for time in (unit.pts, unit.dts))
                        unit.stream = target
                        container.mux(unit)
            raw.unlink()
    return path


def two_videos_and_a_cover(path: Path) -> Path:
    """A cover picture, then two video streams of different sizes and rates, their packets interleaved."""
    with av.open(str(path), "w") as container:
        cover = container.add_stream("mjpeg", rate=Fraction(1))
        assert isinstance(cover, VideoStream)
        cover.width, cover.height, cover.pix_fmt = 32, 32, "yuvj420p"
        cover.disposition = Disposition.attached_pic
        streams = []
        for height, width, rate in [(48, 64, 25), (32, 40, 50)]:
            stream = container.add_stream("libx264", rate=Fraction(rate), options=x264(g=12))
            assert isinstance(stream, VideoStream)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            stream.codec_context.thread_count = 1
            streams.append(stream)
        still = av.VideoFrame.from_ndarray(moving(1, 32, 32)[0], format="rgb24")
        still.pts = 0
        packets = cover.encode(still)
        for stream in streams:
            for index, rgb in enumerate(moving(60, stream.height, stream.width)):
                frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
                frame.pts = index
                packets += stream.encode(frame)
            packets += stream.encode(None)
        container.mux(packets)
    return path


def with_streams(number: int) -> Maker:
    """A maker of a file with so many video streams, of 8 frames each."""

    def make(path: Path) -> Path:
        with av.open(str(path), "w") as container:
            streams = []
            for _ in range(number):
                stream = container.add_stream("mpeg4", rate=Fraction(25))
                assert isinstance(stream, VideoStream)
                stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
                stream.codec_context.thread_count = 1
                streams.append(stream)
            for index, rgb in enumerate(moving(8)):
                for stream in streams:
                    frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
                    frame.pts = index
                    container.mux(stream.encode(frame))
            for stream in streams:
                container.mux(stream.encode(None))
        return path

    return make


def pictures_with_disposal(num_frames: int, **options: Any) -> Maker:
    """A maker of GIF or APNG by Pillow: a small picture that moves over nothing, each frame disposed of as asked."""

    def make(path: Path) -> Path:
        frames = []
        for index, rgb in enumerate(moving(num_frames)):
            alpha = np.zeros((48, 64, 1), np.uint8)
            alpha[index % 32 : index % 32 + 16, 8:40] = 255
            frames.append(Image.fromarray(np.concatenate([rgb, alpha], axis=2), "RGBA"))
        frames[0].save(path, save_all=True, append_images=frames[1:], **options)
        return path

    return make
