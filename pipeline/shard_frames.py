"""The frames of one shard: every video decoded, its slot filled or left empty, and the shard committed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.video.decoding import DecodedClip, DecodeOptions, VideoError, decode_clip
from store.clips import ShardFrames, outcomes_of, read_frames, slot_checksum, write_frames
from store.commits import VideoOutcome
from store.schema import Shard, SplitLayout, Video, VideoStatus
from store.store import Store


@dataclass(frozen=True, slots=True)
class MadeFrames:
    """What became of a shard's videos."""

    frames: NDArray[np.uint8]
    """Shape (num_videos, num_frames, height, width, 3), RGB; zero where no video filled the slot."""
    outcomes: tuple[VideoOutcome, ...]
    """One a video, in row order."""
    num_source_bytes: int
    """Of the videos that were decoded now."""


def make_frames(
    store: Store, shard: Shard, videos: Sequence[Video], root: Path, options: DecodeOptions, *, only_failed: bool
) -> MadeFrames:
    """Decode and commit a shard.

    Args:
        store: Where it goes.
        shard: Which rows.
        videos: One a row.
        root: The folder that the paths of the videos are relative to.
        options: How clips are drawn.
        only_failed: Whether videos that have their clip keep it, and only the others are decoded.
    """
    frames = _empty_frames(shard, store.layout(shard.split))
    kept: dict[int, VideoOutcome] = {}
    if only_failed:
        frames = read_frames(store, shard)
        kept = {outcome.row: outcome for outcome in outcomes_of(store, shard) if outcome.filled}
    num_source_bytes = 0
    outcomes = []
    for slot, video in enumerate(videos):
        if video.row not in kept:
            clip = _decode(root / video.path, options)
            _fill(frames, slot, clip)
            num_source_bytes += _num_bytes(root / video.path)
            outcomes.append(_outcome(video, clip, frames.frames[slot]))
        else:
            outcomes.append(kept[video.row])
    write_frames(store, shard, frames, outcomes)
    return MadeFrames(frames.frames, tuple(outcomes), num_source_bytes)


def _decode(path: Path, options: DecodeOptions) -> DecodedClip | VideoError:
    try:
        return decode_clip(path, options)
    except VideoError as error:
        return error


def _empty_frames(shard: Shard, layout: SplitLayout) -> ShardFrames:
    """A shard in which no slot is filled."""
    shape = (shard.num_rows, layout.num_frames)
    return ShardFrames(
        frames=np.zeros((*shape, layout.height, layout.width, 3), dtype=np.uint8),
        pts_seconds=np.full(shape, np.nan),
        frame_index=np.full(shape, -1, dtype=np.int64),
    )


def _fill(frames: ShardFrames, slot: int, clip: DecodedClip | VideoError) -> None:
    """Put a clip in its slot; without a clip, the slot keeps the fill values."""
    if isinstance(clip, DecodedClip):
        frames.frames[slot] = clip.sample.frames
        frames.pts_seconds[slot] = clip.sample.pts_seconds
        frames.frame_index[slot] = clip.sample.frame_index


def _outcome(video: Video, clip: DecodedClip | VideoError, slot: NDArray[np.uint8]) -> VideoOutcome:
    if isinstance(clip, VideoError):
        return VideoOutcome(video.video_id, video.row, clip.status, filled=False, reason=clip.reason)
    return VideoOutcome(
        video_id=video.video_id,
        row=video.row,
        status=VideoStatus.TRUNCATED if clip.truncated else VideoStatus.OK,
        filled=True,
        reason="the file is cut off after the last frame that was needed" if clip.truncated else None,
        duration_seconds=clip.source.duration_seconds,
        fps=clip.source.fps,
        codec=clip.source.codec,
        checksum=slot_checksum(slot),
    )


def _num_bytes(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
