"""The frames of one shard: every video decoded, its slot filled or left empty, and the shard committed."""

from __future__ import annotations

import stat
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.events import ItemsDone, Tell
from pipeline.isolation.decoder import Decoder, DecodeRequest
from pipeline.video.clips import DecodedClip, DecodeOptions, VideoError, Window
from store.clips import ShardFrames, outcomes_of, read_frames, write_frames
from store.commits import VideoOutcome
from store.schema import Shard, Video, VideoStatus
from store.store import Store


@dataclass(frozen=True, slots=True)
class MadeFrames:
    """What became of a shard's videos."""

    clips: ShardFrames
    """As they are read from the store: with a lossy codec, not quite what was decoded."""
    outcomes: tuple[VideoOutcome, ...]
    """One a video, in row order."""
    num_frames: int = 0
    """Of the clips that were decoded now."""
    num_source_bytes: int = 0
    """Of the videos that were decoded now."""


def make_frames(
    store: Store,
    shard: Shard,
    videos: Sequence[Video],
    root: Path,
    options: DecodeOptions,
    *,
    only_failed: bool,
    decoder: Decoder,
    tell: Tell,
) -> MadeFrames:
    """Decode and commit a shard.

    Args:
        store: Where it goes.
        shard: Which rows.
        videos: One a row.
        root: The folder that the paths of the videos are relative to.
        options: How clips are drawn.
        only_failed: Whether videos that have their clip keep it, and only the others are decoded.
        decoder: Decodes them, one after the other.
        tell: Is told of each video when it has ended.
    """
    clips = read_frames(store, shard) if only_failed else _empty_frames(store, shard)
    outcomes = {one.row: one for one in outcomes_of(store, shard) if one.filled} if only_failed else {}
    kept_rows = tuple(outcomes)
    tell(ItemsDone(len(kept_rows)))
    owed = [video for video in videos if video.row not in outcomes]
    requests = [_request(video, root, options) for video in owed]
    made = ItemsDone()
    with closing(decoder.decode(requests)) as decoded:
        for video, request, clip in zip(owed, requests, decoded, strict=True):
            _fill(clips, video.row - shard.start, clip)
            outcomes[video.row] = _outcome(video, clip)
            items = _items(clip, file_bytes(request.path))
            made += items
            tell(items)
    written = write_frames(store, shard, clips, [outcomes[video.row] for video in videos], kept_rows=kept_rows)
    return MadeFrames(written.clips, written.record.outcomes, made.num_frames, made.num_source_bytes)


def file_bytes(path: Path) -> int:
    """Size of a regular file, 0 where there is none."""
    try:
        facts = path.stat()
    except (OSError, ValueError):  # ValueError: a NUL in the path
        return 0
    return facts.st_size if stat.S_ISREG(facts.st_mode) else 0


def _request(video: Video, root: Path, options: DecodeOptions) -> DecodeRequest:
    return DecodeRequest(root / video.path, options, Window(video.start_seconds, video.end_seconds))


def _empty_frames(store: Store, shard: Shard) -> ShardFrames:
    """A shard in which no slot is filled."""
    layout = store.layout(shard.split)
    shape = (shard.num_rows, layout.num_frames)
    picture = (layout.height, layout.width)
    return ShardFrames(
        frames=np.zeros((*shape, *picture, 3), dtype=np.uint8),
        pts_seconds=np.full(shape, np.nan),
        frame_index=np.full(shape, -1, dtype=np.int64),
        next_grey=np.zeros((*shape, *picture), dtype=np.uint8) if store.manifest.neighbours else None,
    )


def _fill(clips: ShardFrames, slot: int, clip: DecodedClip | VideoError) -> None:
    """Put a clip in its slot; without a clip, the slot keeps the fill values."""
    if isinstance(clip, VideoError):
        return
    clips.frames[slot] = clip.sample.frames
    clips.pts_seconds[slot] = clip.sample.pts_seconds
    clips.frame_index[slot] = clip.sample.frame_index
    if clips.next_grey is not None:
        assert clip.sample.next_grey is not None
        clips.next_grey[slot] = clip.sample.next_grey


def _items(clip: DecodedClip | VideoError, num_bytes: int) -> ItemsDone:
    if isinstance(clip, VideoError):
        return ItemsDone(1, num_failed=1, num_source_bytes=num_bytes)
    return ItemsDone(1, num_frames=int((clip.sample.frame_index >= 0).sum()), num_source_bytes=num_bytes)


def _outcome(video: Video, clip: DecodedClip | VideoError) -> VideoOutcome:
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
    )
