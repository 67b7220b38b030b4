"""One video in, one clip out: the frames shown at the centres of equal spans, decoded exactly.

First the packets are read without decoding, which gives every frame's time for a few per cent of the cost. Then the
video is decoded from its start to the last frame wanted, and only those are converted. That plan is checked as it runs:
the frames must come with exactly the times that the packets promised, undamaged. Where it does not hold, or packets
tell no times, the video is decoded twice, once for times and damage and once for pictures.

A cut-off file is sampled over the length that it declares, so that frame i stands for the same moment as in the whole
file; the clip is given if all of its frames are still there.
"""

from __future__ import annotations

import logging
from pathlib import Path

from pipeline.video.clips import ClipSample, DecodedClip, DecodeOptions, SourceFacts, VideoError
from pipeline.video.drawing import Pictures, PlanRefutedError, decode_facts, draw
from pipeline.video.frame_plan import DrawPlan, plan_from_frames, plan_from_packets
from pipeline.video.opening import Deadline, check_file, extent_of, refuse_missing_index
from pipeline.video.probing import VideoScan, scan_video
from store.schema import VideoStatus

__all__ = ["ClipSample", "DecodeOptions", "DecodedClip", "SourceFacts", "VideoError", "decode_clip"]

_logger = logging.getLogger(__name__)


def decode_clip(path: Path, options: DecodeOptions) -> DecodedClip:
    """Draw `options.num_frames` frames from a local video file.

    Args:
        path: Any path; nothing in it is taken for a URL, a pattern or an option.
        options: How many frames, how large, and the limits.

    Raises:
        VideoError: Every video that gives no clip, with its status and reason. `MISSING` (no readable regular file),
            `EMPTY`, `NO_VIDEO_STREAM`, `UNSUPPORTED` (no decoder, or a size outside the limits), `TOO_SHORT` (fewer
            than two frames: no motion), `TRUNCATED` (cut off before the last frame wanted, or without its index),
            `TIMEOUT`, and `CORRUPT` (not a video, or damaged where a wanted frame depends on it).
    """
    deadline = Deadline.after(options.timeout_seconds)
    check_file(path)
    extent = extent_of(path)
    refuse_missing_index(extent)
    try:
        return _decode_checked(path, options, deadline, cut_off=extent.is_cut_off)
    except VideoError as error:
        explained_by_cut = (VideoStatus.CORRUPT, VideoStatus.NO_VIDEO_STREAM, VideoStatus.TOO_SHORT)
        if extent.is_cut_off and error.status in explained_by_cut:
            reason = f"the file was cut off, {extent.missing_bytes} bytes are missing; {error.reason}"
            raise VideoError(VideoStatus.TRUNCATED, reason) from error
        raise


def _decode_checked(path: Path, options: DecodeOptions, deadline: Deadline, *, cut_off: bool) -> DecodedClip:
    scan = scan_video(path, deadline, cut_off=cut_off)
    if scan.timeline is not None and len(scan.timeline.pts) >= options.num_frames:
        plan = plan_from_packets(scan.timeline, options.num_frames)
        try:
            return _clip(scan, plan, draw(path, scan, plan, options, deadline))
        except PlanRefutedError as error:
            _logger.info("decoding twice: %s", error)
    plan = plan_from_frames(scan, decode_facts(path, scan, deadline), options.num_frames)
    try:
        return _clip(scan, plan, draw(path, scan, plan, options, deadline))
    except PlanRefutedError as error:
        raise VideoError(VideoStatus.CORRUPT, "the decoder gives other frames when asked twice") from error


def _clip(scan: VideoScan, plan: DrawPlan, pictures: Pictures) -> DecodedClip:
    timeline = plan.timeline
    num_frames = len(timeline.pts)
    shown, covered = (
        (num_frames, timeline.end_pts) if not timeline.truncated else (num_frames - 1, int(timeline.pts[-1]))
    )
    source = SourceFacts(
        duration_seconds=timeline.seconds(timeline.end_pts - timeline.start_pts),
        fps=float(shown / ((covered - timeline.start_pts) * timeline.time_base)),
        codec=scan.codec,
        num_frames=num_frames,
        width=pictures.width,
        height=pictures.height,
    )
    sample = ClipSample(pictures.frames, timeline.seconds_of(plan.chosen), plan.chosen)
    return DecodedClip(sample, source, timeline.truncated)
