"""Decoding the packets of a plan, checking every frame against it, and converting the frames that it wants."""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path

import av
import av.error
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from pipeline.video.clips import VideoError
from pipeline.video.frame_plan import PacketPlan
from pipeline.video.options import DecodeOptions
from pipeline.video.pictures import Album
from pipeline.video.reading.opening import Deadline, OpenVideo, open_video, video_error_of
from pipeline.video.reading.probing import VideoScan, read_packets
from pipeline.video.segments import Segment
from pipeline.video.soundness import Damage, FrameFacts
from store.schema import VideoStatus

_REFUSALS = (
    av.error.InvalidDataError,
    av.error.PatchWelcomeError,
    av.error.ArgumentError,
    av.error.ExternalError,
    av.error.UnknownError,
)
"""What decoders raise for a packet that they cannot decode."""


_HOLLOW = VideoError(VideoStatus.CORRUPT, "zeros stand where a part of it should be")


class PlanRefutedError(RuntimeError):
    """The decoder gave other frames than planned, or met damage that the plan did not expect."""


def draw_packets(
    video: OpenVideo, scan: VideoScan, plan: PacketPlan, options: DecodeOptions, deadline: Deadline
) -> Album:
    """Send a video's decoder the packets of a plan, and convert the frames that it wants.

    Raises:
        PlanRefutedError: The plan does not hold.
        VideoError: As `open_video` and `Album.add`; `TIMEOUT`.
    """
    # Before anything is decoded: decoders of many codecs take zeros for a picture, without an error.
    if any(is_hollow(segment, scan) for segment in plan.segments):
        raise PlanRefutedError(_HOLLOW.reason)
    album = Album(options, scan.display)
    with closing(drawn_segments(video, scan, plan, options, deadline, into=album)) as segments:
        for _ in segments:
            pass
    return album


def drawn_segments(
    video: OpenVideo, scan: VideoScan, plan: PacketPlan, options: DecodeOptions, deadline: Deadline, *, into: Album
) -> Generator[Segment, None, None]:
    """As `draw_packets`: give each segment of the plan once all of its frames are converted into the album.

    Each must give exactly the planned frames, undamaged and in order. None of them may be hollow.
    """
    places = {int(plan.timeline.pts[place]): place for place in plan.wanted}
    decoder = video.stream.codec_context
    # In one pass: packets that are not in memory are read from the file once, not once a segment.
    everything = [place for segment in plan.segments for place in segment.packets.tolist()]
    with closing(read_packets(video.path, scan, everything, deadline, options)) as packets:
        for segment in plan.segments:
            expected = iter(segment.shown_pts.tolist())
            for frame in _segment_frames(decoder, packets, len(segment.packets), deadline):
                tick = next(expected, None)
                # Times of packets can be wrong without a sign. A decoded frame with another time, or none, proves it.
                if frame.pts is None or frame.pts != tick or frame.is_corrupt:
                    raise PlanRefutedError(f"a frame at {frame.pts} (corrupt: {frame.is_corrupt}), {tick} was planned")
                if tick in places:
                    into.add(places[tick], frame)
            missing = next(expected, None)
            if missing is not None:
                raise PlanRefutedError(f"the decoder gave no frame at {missing}")
            decoder.flush_buffers()  # a drained decoder takes no packet until it is flushed
            yield segment


def is_hollow(segment: Segment, scan: VideoScan) -> bool:
    """Whether a part of a packet of a segment is lost."""
    return bool(scan.table.is_hollow[segment.packets].any())


def _segment_frames(
    decoder: VideoCodecContext, packets: Iterator[Packet[VideoStream]], num_packets: int, deadline: Deadline
) -> Iterator[VideoFrame]:
    """The frames of the next packets. The decoder is then drained, so that it holds no frame back."""
    try:
        for _ in range(num_packets):
            deadline.check()
            packet = next(packets, None)
            if packet is None:
                raise PlanRefutedError("the file gave fewer packets when it was read again")
            yield from decoder.decode(packet)
        # B pictures wait in the decoder for pictures that are shown later; None fetches them.
        yield from decoder.decode(None)
    except _REFUSALS as error:
        raise PlanRefutedError(f"a packet was refused: {video_error_of(error).reason}") from error


@contextmanager
def _from_start(
    path: Path, scan: VideoScan, options: DecodeOptions, deadline: Deadline, fresh: OpenVideo | None
) -> Iterator[tuple[VideoCodecContext, Iterator[Packet[VideoStream]]]]:
    """A decoder that has decoded nothing, and all packets that the scan found: without the file if that is possible."""
    # An open file alone does not do: its scan has read it to the end, so the packets must lie in memory.
    if fresh is not None and scan.buffered is not None:
        yield fresh.stream.codec_context, iter(scan.buffered)
        return
    with open_video(path, deadline, options, scan.choice) as video, closing(video.packets(deadline)) as packets:
        yield video.stream.codec_context, islice(packets, len(scan.table))  # none after the first loss


def decode_events(
    path: Path, scan: VideoScan, options: DecodeOptions, deadline: Deadline, fresh: OpenVideo | None = None
) -> Generator[VideoFrame | Damage, None, None]:
    """Decode from the start: frames in presentation order, and packets that the decoder refused.

    Close it (`contextlib.closing`) to close the file when stopping early.

    Args:
        path: The file.
        scan: Of it.
        options: The limits.
        deadline: For all of it.
        fresh: The video, open, if its decoder was sent nothing yet. Then the file is not opened again, unless its
            packets are too large to be kept.

    Raises:
        VideoError: As `open_video`; `TIMEOUT`; `CORRUPT` when the packets cannot be read.
    """
    with _from_start(path, scan, options, deadline, fresh) as (decoder, packets):
        for number, packet in enumerate(packets):
            deadline.check()
            if scan.table.is_hollow[number]:
                yield Damage(packet.pts, _HOLLOW)
            else:
                yield from _decoded(decoder, packet, deadline)
        yield from _decoded(decoder, None, deadline)


def _decoded(
    decoder: VideoCodecContext, packet: Packet[VideoStream] | None, deadline: Deadline
) -> Iterator[VideoFrame | Damage]:
    """The frames that a packet completes; for None, the end, the frames that the decoder still holds."""
    try:
        frames = decoder.decode(packet)
    except _REFUSALS as error:
        yield Damage(None if packet is None else packet.pts, video_error_of(error))
        return
    for frame in frames:
        deadline.check()
        yield frame


def decode_facts(
    path: Path,
    scan: VideoScan,
    options: DecodeOptions,
    deadline: Deadline,
    *,
    guessed: Collection[int] = (),
    fresh: OpenVideo | None = None,
) -> tuple[list[FrameFacts | Damage], Album]:
    """Decode everything and record the facts of each frame.

    The frames at the guessed positions are converted on the way: if the guess was right, the video need not be decoded
    again. The first one that cannot be converted ends the guessing. `fresh` is as in `decode_events`.
    """
    album, facts, position = Album(options, scan.display), list[FrameFacts | Damage](), -1
    with closing(decode_events(path, scan, options, deadline, fresh)) as events:
        for event in events:
            facts.append(event if isinstance(event, Damage) else FrameFacts.of(event))
            if isinstance(event, Damage):
                continue
            position += 1
            if position in guessed:
                try:
                    album.add(position, event)
                except VideoError:  # only a guess: it is reported if the plan does want this frame
                    guessed = ()
    return facts, album


def draw_sequentially(
    path: Path,
    scan: VideoScan,
    positions: Collection[int],
    expected_pts: Sequence[int | None],
    options: DecodeOptions,
    deadline: Deadline,
) -> Album:
    """Decode from the start to the last of some positions, and convert the frames there.

    Damage was judged when they were planned. All frames must have the same times as then.

    Args:
        path: The file.
        scan: Of it.
        positions: Of the frames, among all that the decoder gives.
        expected_pts: As in `SequentialPlan`.
        options: How large, and the limits.
        deadline: For all of it.

    Raises:
        PlanRefutedError: The plan does not hold.
        VideoError: As `decode_events` and `Album.add`.
    """
    album = Album(options, scan.display)
    wanted = frozenset(positions)
    last = max(wanted)
    position = -1
    with closing(decode_events(path, scan, options, deadline)) as events:
        for event in events:
            if isinstance(event, Damage):
                continue
            position += 1
            # Positions count frames, not events: `expected_pts` has no entry for a refused packet either.
            if position >= len(expected_pts) or event.pts != expected_pts[position]:
                raise PlanRefutedError(f"frame {position} has pts {event.pts}, which was not planned")
            if position in wanted:
                album.add(position, event)
            if position >= last:
                return album
    raise PlanRefutedError(f"frame {last} was planned, and the decoder gave {position + 1}")
