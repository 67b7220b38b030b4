"""Which frames of a video to draw: planned from its packets or, if these are not usable, from a full decode."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pipeline.run.words import plural
from pipeline.video.clips import VideoError
from pipeline.video.options import DecodeOptions, Window
from pipeline.video.reading.probing import VideoScan
from pipeline.video.reading.timeline import UNKNOWN_END, Timeline, timeline_of
from pipeline.video.segments import Segment, everything_to, plan_segments
from pipeline.video.soundness import Damage, FrameFacts, sound_frames
from store.schema import VideoStatus

REORDER_LIMIT = 16
"""Frames that a decoder may hold back to reorder them (H.264 and HEVC allow 16)."""


@dataclass(frozen=True, slots=True)
class ClipPlan:
    """Which frames a clip takes."""

    timeline: Timeline
    start_pts: int
    """The clip is `[start_pts, end_pts)`, in ticks."""
    end_pts: int
    chosen: NDArray[np.int64]
    """Shape (n,): places in the timeline, in the order of the clip; n is at most `num_frames`."""
    neighbours: NDArray[np.int64]
    """Shape (n,), or (0,) without `neighbours`: the frame after each; for the last frame of all, the one before."""

    @property
    def wanted(self) -> list[int]:
        """All places to draw, increasing, each once."""
        return [int(place) for place in np.union1d(self.chosen, self.neighbours)]


@dataclass(frozen=True, slots=True)
class PacketPlan:
    """Frames to draw, and the packets to decode for them."""

    timeline: Timeline
    wanted: Sequence[int]
    """Places in the timeline to draw, increasing."""
    segments: tuple[Segment, ...]


@dataclass(frozen=True, slots=True)
class SequentialPlan:
    """A clip, and the positions of its frames among all that a decoder gives."""

    clip: ClipPlan
    positions: dict[int, int]
    """Place in the timeline -> place among the frames that the decoder gives, for each frame to draw."""
    expected_pts: Sequence[int | None]
    """Times of the frames that the decoder gives, in its order."""


def plan_clip(timeline: Timeline, scan: VideoScan, options: DecodeOptions, window: Window) -> ClipPlan:
    """Choose the frames of a clip.

    Raises:
        VideoError: As `Timeline.choose`.
    """
    start, end = timeline.span(window)
    if end == UNKNOWN_END:
        end = timeline.readable_end
        if start >= end:  # `clip4clip` cuts the second at which a clip begins, and might still find a frame
            raise timeline.lost()
    chosen = timeline.choose(options, window, scan.average_rate)
    neighbours = np.empty(0, np.int64)
    if options.neighbours:
        last = len(timeline.pts) - 1
        neighbours = np.where(chosen < last, chosen + 1, last - 1)
        # The frame after the last chosen one may be among the lost ones. The next that is left would show another
        # moment.
        following = int(chosen.max()) + 1
        if timeline.truncated and (following > last or timeline.pts[following] >= timeline.readable_end):
            raise timeline.lost()
    return ClipPlan(timeline, start, end, chosen, neighbours)


def guessed_positions(scan: VideoScan, options: DecodeOptions, window: Window) -> frozenset[int]:
    """Positions of the frames to draw among all decoded frames, if every shown packet gives one frame in turn.

    Empty if nothing can be guessed.
    """
    num_frames = int(scan.table.is_shown.sum())
    if num_frames < 2 or not scan.average_rate:
        return frozenset()
    counted = timeline_of(range(num_frames), 1, 1 / scan.average_rate, None, None)  # a tick is a frame
    try:
        return frozenset(plan_clip(counted, scan, options, window).wanted)
    except VideoError:  # only a guess: the decoded frames decide, and raise what is true of them
        return frozenset()


def plan_packets(timeline: Timeline, wanted: Sequence[int], scan: VideoScan) -> PacketPlan:
    """The packets to decode for some frames: few if the codec allows it, else all packets up to the last frame.

    Args:
        timeline: That of the scan.
        wanted: Places in it, increasing: those of a clip, or of several.
        scan: Of the video.
    """
    shown = np.flatnonzero(scan.table.is_shown)
    in_order = shown[np.argsort(scan.table.pts[shown])]  # the packet of each frame of the timeline
    packets = in_order[np.array(wanted, np.int64)].tolist()
    if scan.may_end_early:
        # Half a packet may give no frame, and the video is then one frame shorter than planned. Decoding it tells.
        packets.append(int(shown[-1]))
    segments = plan_segments(scan.table, packets) if scan.may_skip else None
    return PacketPlan(timeline, wanted, segments or (everything_to(scan.table, max(packets)),))


def plan_from_frames(
    scan: VideoScan, events: Sequence[FrameFacts | Damage], options: DecodeOptions, window: Window
) -> SequentialPlan:
    """The plan of a video from a full decode. For frames that were lost to damage, the packets' times are still used.

    Raises:
        VideoError: `TOO_SHORT`; `TRUNCATED`; `CORRUPT` when a chosen frame is damaged or may depend on damage;
            `UNSUPPORTED` when there are neither times nor a frame rate.
    """
    frames = [event for event in events if isinstance(event, FrameFacts)]
    damage = next((event for event in events if isinstance(event, Damage)), None)
    if len(frames) < 2:
        raise _too_few(len(frames), damage)
    expected = [frame.pts for frame in frames]
    sound = sound_frames(events)
    # If no packet was refused, each frame came out, and the decoder's own times are used; they are surer than packets'.
    positions = None if damage is None else _sound_positions(scan, expected, sound)
    if scan.timeline is not None and positions is not None:
        timeline = scan.timeline
    else:
        timeline = _timeline_of_frames(scan, frames, _loss_among(scan, events))
        # Where times had to be counted, the ticks of the timeline are numbers of frames, and not what the decoder gave.
        ticks = timeline.pts.tolist() if len(timeline.pts) == len(frames) else expected
        positions = {tick: position for position, tick in enumerate(ticks) if tick is not None}
    clip = plan_clip(timeline, scan, options, window)
    drawn = {}
    for place in clip.wanted:
        tick = int(timeline.pts[place])
        if tick not in positions or not sound[positions[tick]]:
            raise _damaged(timeline, tick, damage)
        drawn[place] = positions[tick]
    return SequentialPlan(clip, drawn, expected)


def _too_few(num_frames: int, damage: Damage | None) -> VideoError:
    if damage is not None:
        return VideoError(
            damage.cause.status, f"only {plural(num_frames, 'frame')} can be decoded; {damage.cause.reason}"
        )
    return VideoError(
        VideoStatus.TOO_SHORT, f"the video stream has {plural(num_frames, 'frame')}, and motion needs two"
    )


def _damaged(timeline: Timeline, tick: int, damage: Damage | None) -> VideoError:
    when = timeline.seconds(tick - timeline.start_pts)
    words = "the decoder flags it" if damage is None else damage.cause.reason
    return VideoError(VideoStatus.CORRUPT, f"the frame at {when:.3f} s is damaged or depends on damage; {words}")


def _sound_positions(
    scan: VideoScan, decoded_pts: Sequence[int | None], sound: NDArray[np.bool_]
) -> dict[int, int] | None:
    """Position among the decoded frames of each sound one, by its tick; None if the packets' timeline lacks one."""
    positions = {tick: place for place, tick in enumerate(decoded_pts) if tick is not None and sound[place]}
    # Fewer positions than sound frames: two have the same time, or one has none.
    in_order = list(positions) == sorted(positions) and len(positions) == sound.sum()
    on_timeline = scan.timeline is not None and positions.keys() <= set(scan.timeline.pts.tolist())
    return positions if in_order and on_timeline else None


def _loss_among(scan: VideoScan, events: Sequence[FrameFacts | Damage]) -> Damage | None:
    """The first packet that cost a frame. Those before the first key frame do not: nothing could be decoded there."""
    starts_whole = scan.table.is_key[0] or bool(scan.table.is_hollow.any())
    first = 0 if starts_whole else next(i for i, event in enumerate(events) if isinstance(event, FrameFacts))
    return next((event for event in events[first:] if isinstance(event, Damage)), None)


def _timeline_of_frames(scan: VideoScan, frames: Sequence[FrameFacts], damage: Damage | None) -> Timeline:
    """The times as decoded. If some are missing or go backwards, frame i is shown at i over the average rate.

    If frames are lost, the packets must tell when these were to be shown.
    """
    times = [frame.pts for frame in frames if frame.pts is not None]
    complete_until = None if scan.declared_end is None else scan.table.decoded_end
    is_in_order = len(times) == len(frames) and all(before < after for before, after in pairwise(times))
    if damage is not None:
        promised = scan.table.shown_times
        if not is_in_order or len(promised) != scan.table.is_shown.sum() or not np.isin(times, promised).all():
            reason = f"frames are lost, and the file has no times that show which; {damage.cause.reason}"
            raise VideoError(VideoStatus.CORRUPT, reason)
        return timeline_of(promised, frames[-1].duration, scan.time_base, scan.declared_end, complete_until)
    if is_in_order:
        return timeline_of(times, frames[-1].duration, scan.time_base, scan.declared_end, complete_until)
    if not scan.average_rate:
        raise VideoError(VideoStatus.UNSUPPORTED, "the frames have no times and the stream has no frame rate")
    time_base = 1 / scan.average_rate
    declared_end, complete_until = None, None
    if scan.declared_end is not None:
        declared_end = scan.declared_end
        if declared_end != UNKNOWN_END:
            declared_end = round((declared_end - scan.table.start_pts) * scan.time_base / time_base)
        # Among the last frames, pictures between them may be missing: the decoder was still reordering at the cut.
        complete_until = max(0, len(frames) - REORDER_LIMIT)
    return timeline_of(range(len(frames)), 1, time_base, declared_end, complete_until)
