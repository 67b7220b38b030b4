"""Decoding a video from its start and converting the frames that a plan names."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import av
import av.error
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

from pipeline.video.clips import DecodeOptions, VideoError
from pipeline.video.frame_plan import REORDER_LIMIT, DrawPlan
from pipeline.video.opening import Deadline, ffmpeg_errors, open_video, video_error_of
from pipeline.video.pictures import to_rgb
from pipeline.video.probing import VideoScan
from pipeline.video.resizing import resize_and_crop
from pipeline.video.soundness import Damage, FrameFacts
from store.schema import VideoStatus


class PlanRefutedError(RuntimeError):
    """The decoder gave other frames than planned, or met damage that the plan did not know."""


@dataclass(frozen=True, slots=True)
class Pictures:
    """The frames that a plan named."""

    frames: NDArray[np.uint8]
    """Shape (num_frames, size, size, 3), RGB."""
    height: int
    """Of the first one, as displayed."""
    width: int


def decode_events(path: Path, scan: VideoScan, deadline: Deadline) -> Generator[VideoFrame | Damage, None, None]:
    """Decode from the start, with one thread: frames in presentation order, and packets that the decoder refused.

    Close it (`contextlib.closing`) to close the file when stopping early.

    Raises:
        VideoError: As `open_video`; `TIMEOUT`; `CORRUPT` when the packets cannot be read.
    """
    with open_video(path, deadline) as (container, stream):
        num_packets = 0
        for packet in container.demux(stream):
            deadline.check()
            if packet.size:
                num_packets += 1
                yield from _decoded(stream, packet, deadline)
            if num_packets == len(scan.packets):  # the end of the file, or what is left of one that was cut off
                break
        yield from _decoded(stream, None, deadline)


def _decoded(
    stream: VideoStream, packet: av.Packet[VideoStream] | None, deadline: Deadline
) -> Iterator[VideoFrame | Damage]:
    """The frames that one packet brings out, or at the end (None) those that were held back."""
    refusals = (
        av.error.InvalidDataError,
        av.error.PatchWelcomeError,
        av.error.ArgumentError,
        av.error.ExternalError,
        av.error.UnknownError,
    )
    try:
        frames = stream.decode(packet)
    except refusals as error:
        yield Damage(None if packet is None else packet.pts, video_error_of(error))
        return
    for frame in frames:
        deadline.check()
        yield frame


def decode_facts(path: Path, scan: VideoScan, deadline: Deadline) -> list[FrameFacts | Damage]:
    """Decode everything and keep what is known of each frame, without its pixels."""
    with closing(decode_events(path, scan, deadline)) as events:
        return [event if isinstance(event, Damage) else FrameFacts.of(event) for event in events]


def draw(path: Path, scan: VideoScan, plan: DrawPlan, options: DecodeOptions, deadline: Deadline) -> Pictures:
    """Decode as far as the plan needs, check every frame against it, and convert those it names.

    After the last frame named, frames are decoded (not converted) up to the next that is no B picture: damage in a
    picture that it was predicted from would show there.

    Raises:
        PlanRefutedError: The plan does not hold.
        VideoError: As `decode_events`; `UNSUPPORTED` for a frame outside the limits of size.
    """
    wanted, last = frozenset(plan.positions), max(plan.positions)
    pictures: dict[int, NDArray[np.uint8]] = {}
    shape: tuple[int, int] | None = None
    reformatter = VideoReformatter()
    position = -1
    with closing(decode_events(path, scan, deadline)) as events:
        for event in events:
            facts = _checked(event, plan, position + 1)
            if facts is None or isinstance(event, Damage):
                continue
            position += 1
            if position in wanted:
                rgb = _converted(event, reformatter, options)
                shape = shape or rgb.shape[:2]
                pictures[position] = resize_and_crop(rgb, options.image_size)
            if position >= last and (not facts.is_bidirectional or position >= last + REORDER_LIMIT):
                break
    if shape is None or last not in pictures:
        raise PlanRefutedError(f"frame {last} was planned, and the decoder gave {position + 1}")
    frames = np.stack([pictures[position] for position in plan.positions])
    return Pictures(frames, height=shape[0], width=shape[1])


def _checked(event: VideoFrame | Damage, plan: DrawPlan, position: int) -> FrameFacts | None:
    """The facts of a frame that is as planned, None for damage that the plan allows for."""
    if isinstance(event, Damage):
        if plan.tolerates_damage:
            return None
        raise PlanRefutedError(f"a packet was refused: {event.cause.reason}")
    facts = FrameFacts.of(event)
    if position >= len(plan.expected_pts) or facts.pts != plan.expected_pts[position]:
        raise PlanRefutedError(f"frame {position} has pts {facts.pts}, which was not planned")
    if facts.is_corrupt and not plan.tolerates_damage:
        raise PlanRefutedError(f"frame {position} is flagged corrupt")
    return facts


def _converted(frame: VideoFrame, reformatter: VideoReformatter, options: DecodeOptions) -> NDArray[np.uint8]:
    """The frame upright in RGB, shape (height, width, 3); refused unconverted if its size is outside the limits."""
    width, height = frame.width, frame.height
    short, long = min(width, height), max(width, height)
    if short < options.min_side:
        limit = f"its shorter side must have at least {options.min_side} pixels"
    elif long > options.max_aspect * short:
        limit = f"its sides may differ by a factor of {options.max_aspect:g}"
    elif width * height > options.max_pixels:
        limit = f"it may have {options.max_pixels} pixels"
    else:
        with ffmpeg_errors():
            return to_rgb(frame, reformatter)
    raise VideoError(VideoStatus.UNSUPPORTED, f"the picture is {width}x{height}, {limit}")
