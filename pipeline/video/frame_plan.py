"""Which of a video's frames to draw, planned from its packets or, where those do not tell, from a full decode."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pipeline.video.clips import VideoError
from pipeline.video.probing import VideoScan, decoded_end
from pipeline.video.soundness import Damage, FrameFacts, sound_frames
from pipeline.video.timeline import Timeline, timeline_of
from store.schema import VideoStatus

REORDER_LIMIT = 16
"""Frames that a decoder may hold back to put them in order (H.264 and HEVC allow 16)."""


@dataclass(frozen=True, slots=True)
class DrawPlan:
    """Which frames to draw, and the times that show that the decoder gives the frames that were planned."""

    timeline: Timeline
    chosen: NDArray[np.int64]
    """Shape (num_frames,): places in the timeline."""
    positions: tuple[int, ...]
    """For each chosen frame, its place among the frames that the decoder gives."""
    expected_pts: Sequence[int | None]
    """Times of the frames that the decoder gives, in its order."""
    tolerates_damage: bool
    """Whether damage was already judged, so that meeting it refutes nothing."""


def plan_from_packets(timeline: Timeline, num_frames: int) -> DrawPlan:
    """The plan of a video whose packets are believed.

    Raises:
        VideoError: `TRUNCATED`, a frame lies in what was cut off.
    """
    chosen = timeline.choose(num_frames)
    return DrawPlan(timeline, chosen, tuple(chosen.tolist()), timeline.pts.tolist(), tolerates_damage=False)


def plan_from_frames(scan: VideoScan, events: Sequence[FrameFacts | Damage], num_frames: int) -> DrawPlan:
    """The plan of a video by what a full decode gave; packets are still believed about frames that were lost to damage.

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
    positions = None if damage is None else _sound_positions(scan, expected, sound)
    if scan.timeline is not None and positions is not None:
        timeline = scan.timeline
    else:
        timeline = _timeline_of_frames(scan, frames, damage)
        positions = {tick: position for position, tick in enumerate(timeline.pts.tolist())}
    chosen = timeline.choose(num_frames)
    for tick in timeline.pts[chosen].tolist():
        if tick not in positions or not sound[positions[tick]]:
            raise _damaged(timeline, tick, damage)
    drawn = tuple(positions[tick] for tick in timeline.pts[chosen].tolist())
    return DrawPlan(timeline, chosen, drawn, expected, tolerates_damage=True)


def _too_few(num_frames: int, damage: Damage | None) -> VideoError:
    if damage is not None:
        return VideoError(damage.cause.status, f"only {num_frames} frames can be decoded; {damage.cause.reason}")
    return VideoError(VideoStatus.TOO_SHORT, f"the video stream has {num_frames} frames, and motion takes two")


def _damaged(timeline: Timeline, tick: int, damage: Damage | None) -> VideoError:
    when = timeline.seconds(tick - timeline.start_pts)
    words = "the decoder flags it" if damage is None else damage.cause.reason
    return VideoError(VideoStatus.CORRUPT, f"the frame at {when:.3f} s is damaged or depends on damage; {words}")


def _sound_positions(
    scan: VideoScan, decoded_pts: Sequence[int | None], sound: NDArray[np.bool_]
) -> dict[int, int] | None:
    """Where among decoded frames each sound one is, by its tick; None if they are not on the packets' timeline."""
    positions = {tick: place for place, tick in enumerate(decoded_pts) if tick is not None and sound[place]}
    in_order = list(positions) == sorted(positions) and len(positions) == sound.sum()
    on_timeline = scan.timeline is not None and positions.keys() <= set(scan.timeline.pts.tolist())
    return positions if in_order and on_timeline else None


def _timeline_of_frames(scan: VideoScan, frames: Sequence[FrameFacts], damage: Damage | None) -> Timeline:
    """Times as decoded; where there are none, or they go backwards, frame i is shown at i over the average rate."""
    times = [frame.pts for frame in frames if frame.pts is not None]
    if len(times) == len(frames) and all(before < after for before, after in pairwise(times)):
        complete_until = decoded_end(scan.packets) if scan.is_cut_off else None
        return timeline_of(times, frames[-1].duration, scan.time_base, scan.declared_end, complete_until)
    if damage is not None:
        reason = f"frames are lost, and the file has no times that say which; {damage.cause.reason}"
        raise VideoError(VideoStatus.CORRUPT, reason)
    if not scan.average_rate:
        raise VideoError(VideoStatus.UNSUPPORTED, "the frames have no times and the stream has no frame rate")
    time_base = 1 / scan.average_rate
    declared_end, complete_until = None, None
    if scan.declared_end is not None:
        declared_end = round((scan.declared_end - scan.start_pts) * scan.time_base / time_base)
        complete_until = max(0, len(frames) - REORDER_LIMIT)  # in the last ones, pictures between may be missing
    return timeline_of(range(len(frames)), 1, time_base, declared_end, complete_until)
