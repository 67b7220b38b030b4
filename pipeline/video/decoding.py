"""One video in, one clip out: the frames sampled from it, decoded exactly and at the least cost.

The fast way, "the packet plan":

1. Read all packets without decoding. This gives the time of every frame for 0.5 to 5% of the cost of decoding.
2. Choose the frames, and find the packets that they depend on.
3. Decode only these packets, and convert only the chosen frames. Every frame must come out undamaged, with exactly the
   time that its packet promised; otherwise the plan is refuted.

The fallback, if packets have no usable times or the plan is refuted: decode the video from its start, to learn times
and damage. A second decode gives the pictures, unless counting packets had predicted which frames are needed.

A file of which part is lost is sampled over the length that it declares, so that frame i shows the same moment as in
the whole file. The clip is returned if all of its frames lie before the loss (`reading/truncation.py` has the rule).
"""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path

import numpy as np

from pipeline.video.clips import ClipSample, DecodedClip, SourceFacts, VideoError
from pipeline.video.drawing import PlanRefutedError, decode_facts, draw_packets, draw_sequentially
from pipeline.video.frame_plan import ClipPlan, guessed_positions, plan_clip, plan_from_frames, plan_packets
from pipeline.video.grey import grey_of
from pipeline.video.options import WHOLE_VIDEO, DecodeOptions, Window
from pipeline.video.pictures import Album
from pipeline.video.reading.opening import Deadline
from pipeline.video.reading.probing import VideoScan
from pipeline.video.reading.scanned import open_scanned
from pipeline.video.reading.timeline import Timeline
from store.schema import VideoStatus

__all__ = ["ClipSample", "DecodeOptions", "DecodedClip", "SourceFacts", "VideoError", "Window", "decode_clip"]

_logger = logging.getLogger(__name__)


def decode_clip(path: Path, options: DecodeOptions, window: Window = WHOLE_VIDEO) -> DecodedClip:
    """Draw up to `options.num_frames` frames from a local video file.

    Args:
        path: Any path; it is never read as a URL, a pattern or an option.
        options: How many frames, which, how large, and the limits.
        window: The part of the video that is the clip. Outside it, only what its frames depend on is decoded.

    Raises:
        VideoError: The video failed, with its status and reason. `MISSING` (no readable regular file),
            `EMPTY`, `NO_VIDEO_STREAM`, `UNSUPPORTED` (no decoder, or outside the limits), `TOO_SHORT` (fewer than two
            frames: no motion), `TRUNCATED` (a part of the file is lost before the last frame wanted, or its index),
            `TIMEOUT`, and `CORRUPT` (not a video, or damaged where a wanted frame depends on it).
    """
    deadline = Deadline(options.timeout_seconds)
    with open_scanned(path, options, deadline) as file:
        video, scan = file.video, file.scan
        # The guess saves the second decode of files without usable times, if it turns out right.
        decode = partial(decode_facts, path, scan, options, deadline)
        timeline = planned_timeline_of(scan, options)
        if timeline is None:
            events, album = decode(guessed=guessed_positions(scan, options, window), fresh=video)
        else:
            clip = plan_clip(timeline, scan, options, window)
            try:
                plan = plan_packets(timeline, clip.wanted, scan)
                return clip_of(scan, clip, draw_packets(video, scan, plan, options, deadline), options)
            except PlanRefutedError as error:
                _logger.info("decoding from the start: %s", error)
                # Not `fresh`: the decoder of this video has seen packets by now, so the file is opened again.
                events, album = decode(guessed=guessed_positions(scan, options, window))
        sequential = plan_from_frames(scan, events, options, window)
        try:
            positions = sequential.positions.values()
            if not album.holds(positions):
                album = draw_sequentially(path, scan, positions, sequential.expected_pts, options, deadline)
            return clip_of(scan, sequential.clip, album.moved(sequential.positions), options)
        except PlanRefutedError as error:
            raise VideoError(VideoStatus.CORRUPT, "the decoder gives other frames when asked twice") from error


def planned_timeline_of(scan: VideoScan, options: DecodeOptions) -> Timeline | None:
    """The timeline by which packets are chosen, or None if the video is decoded from its start.

    The packet plan is for videos with at least one frame a slot.
    """
    timeline = scan.timeline
    return None if timeline is None or len(timeline.pts) < options.num_frames else timeline


def clip_of(scan: VideoScan, plan: ClipPlan, album: Album, options: DecodeOptions) -> DecodedClip:
    """A clip, when all of its frames are in the album."""
    timeline = plan.timeline
    num_frames = len(timeline.pts)
    # If the end is lost, nobody knows how long the last frame was shown: it counts neither as a frame nor as time.
    shown, covered = (
        (num_frames, timeline.end_pts) if not timeline.truncated else (num_frames - 1, int(timeline.pts[-1]))
    )
    source = SourceFacts(
        duration_seconds=timeline.seconds(plan.end_pts - plan.start_pts),
        fps=float(shown / ((covered - timeline.start_pts) * timeline.time_base)),
        codec=scan.codec,
        num_frames=num_frames,
        width=album.width,
        height=album.height,
    )
    notes = album.notes if scan.choice.note is None else (scan.choice.note, *album.notes)
    return DecodedClip(_sample(plan, album, options), source, timeline.truncated, notes)


def _sample(plan: ClipPlan, album: Album, options: DecodeOptions) -> ClipSample:
    """Put the pictures in their slots. Slots without a frame come last and stay black."""
    num_slots, num_chosen, size = options.num_frames, len(plan.chosen), options.image_size
    frames = np.zeros((num_slots, size, size, 3), dtype=np.uint8)
    for slot, place in enumerate(plan.chosen.tolist()):
        frames[slot] = album.picture(place)
    pts_seconds = np.full(num_slots, np.nan)
    pts_seconds[:num_chosen] = plan.timeline.seconds_of(plan.chosen)
    frame_index = np.full(num_slots, -1, dtype=np.int64)
    frame_index[:num_chosen] = plan.chosen
    next_grey = None
    if options.neighbours:
        next_grey = np.zeros(frames.shape[:3], dtype=np.uint8)  # (n, h, w): `frames` without the colours
        for slot, place in enumerate(plan.neighbours.tolist()):
            next_grey[slot] = grey_of(album.picture(place))
    return ClipSample(frames, pts_seconds, frame_index, next_grey)
