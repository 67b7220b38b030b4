"""The frames of one shard: every video decoded, its slot filled or left empty."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.isolation.decoder import Decoder, DecodeRequest
from pipeline.run.events import ItemsDone, Tell
from pipeline.run.options import SourceCheck
from pipeline.run.sources import changed_rows, file_bytes, file_sha256
from pipeline.video.clips import DecodedClip, VideoError
from pipeline.video.options import DecodeOptions, Window
from store.clips.shards import ShardFrames, draft_frames, read_kept
from store.commits import ShardDraft, VideoOutcome
from store.schema import Shard, Video, VideoStatus
from store.store import Store


@dataclass(frozen=True, slots=True)
class MadeFrames:
    """What became of a shard's videos."""

    clips: ShardFrames
    """As they are read from the store: with a lossy codec, not quite what was decoded."""
    outcomes: tuple[VideoOutcome, ...]
    """One a video, in row order."""
    draft: ShardDraft | None = None
    """What is to be committed; None: they are in the store."""
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
    kept_rows: Collection[int],
    check: SourceCheck,
    decoder: Decoder,
    tell: Tell,
) -> MadeFrames:
    """Decode a shard, for `commit_shards`; one with a video that is still pending will be kept aside.

    Args:
        store: Where it goes.
        shard: Which rows.
        videos: One a row.
        root: The folder that the paths of the videos are relative to.
        options: How clips are drawn.
        kept_rows: Rows that were made before and are kept, unless they turn out to be damaged or of other videos.
        check: How to tell that a row is of another video.
        decoder: Decodes them.
        tell: Is told of each video when it has ended.
    """
    # `kept_rows` are of the plan. Meanwhile a file may have changed, or a slot have been damaged: then it is made as
    # well.
    found = _kept(store, shard, videos, root, kept_rows, check)
    clips, outcomes = found or (_empty_frames(store, shard), {})
    kept = tuple(outcomes)
    pending = _by_file([video for video in videos if video.row not in outcomes], root)
    if found is not None:
        filled = {row for row, outcome in outcomes.items() if outcome.filled}
        # Else a video that fails now would keep the clip of an earlier file.
        _empty_slots(clips, [video.row - shard.start for video in videos if video.row not in filled])
    requests = [_request(video, root, options) for video in pending]
    made = ItemsDone()
    with closing(decoder.decode(requests)) as answers:
        for answer in answers:
            video, path, clip = pending[answer.position], requests[answer.position].path, answer.outcome
            _fill(clips, video.row - shard.start, clip)
            # The size is taken after decoding. A file that changed meanwhile is found as changed by the next run.
            outcomes[video.row] = _outcome(video, clip, path)
            items = _items(clip, file_bytes(path))
            made += items
            tell(items)
    drafted = draft_frames(
        store,
        shard,
        clips,
        [outcomes[video.row] for video in videos],
        kept_rows=[row for row in kept if outcomes[row].filled],
    )
    draft = drafted.draft
    return MadeFrames(drafted.clips, draft.record.outcomes, draft, made.num_frames, made.num_source_bytes)


def _kept(
    store: Store,
    shard: Shard,
    videos: Sequence[Video],
    root: Path,
    rows: Collection[int],
    check: SourceCheck,
) -> tuple[ShardFrames, dict[int, VideoOutcome]] | None:
    """What is kept of a shard, and how its videos ended, without those whose files have changed."""
    found = read_kept(store, shard, rows) if rows else None
    if found is None:
        return None
    clips, outcomes = found
    paths = {video.row: root / video.path for video in videos}
    changed = changed_rows([(outcome, paths[row]) for row, outcome in outcomes.items()], check)
    return clips, {row: outcome for row, outcome in outcomes.items() if row not in changed}


def _by_file(videos: Sequence[Video], root: Path) -> list[Video]:
    """The same videos, those of one file next to each other, in the order in which they end: so they are decoded once.

    Large files come first: begun last, one of them would be decoded alone while other decoders have nothing left.

    >>> parts = [Video(name, "test", 0, name[0], 0.0, end) for name, end in [("a1", None), ("b", None), ("a2", 5.0)]]
    >>> [video.video_id for video in _by_file(parts, Path("missing"))]
    ['a2', 'a1', 'b']
    """
    # Reversed: the first of a file is set last.
    first = {video.path: number for number, video in reversed(list(enumerate(videos)))}
    files = sorted(first, key=lambda path: (-file_bytes(root / path), first[path]))
    rank = {path: number for number, path in enumerate(files)}
    # By end, as `decode_windows` wants it: then it can let go of pictures earliest.
    return sorted(videos, key=lambda video: (rank[video.path], video.end_seconds or math.inf, video.start_seconds))


def _request(video: Video, root: Path, options: DecodeOptions) -> DecodeRequest:
    """What is asked of the decoder."""
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


def _empty_slots(clips: ShardFrames, slots: Sequence[int]) -> None:
    """Put the fill values where a video is to be made: a slot may hold what is not kept."""
    clips.frames[slots] = 0
    clips.pts_seconds[slots] = np.nan
    clips.frame_index[slots] = -1
    if clips.next_grey is not None:
        clips.next_grey[slots] = 0


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
        if clip.status is VideoStatus.PENDING:
            return ItemsDone()
        return ItemsDone(1, num_failed=1, num_source_bytes=num_bytes)
    return ItemsDone(1, num_frames=int((clip.sample.frame_index >= 0).sum()), num_source_bytes=num_bytes)


def _outcome(video: Video, clip: DecodedClip | VideoError, path: Path) -> VideoOutcome:
    if isinstance(clip, VideoError):
        return VideoOutcome(
            video.video_id,
            video.row,
            clip.status,
            filled=False,
            reason=clip.reason,
            source_bytes=file_bytes(path) or None,
        )
    loss = ("part of the file is lost, after the last frame that was needed",) if clip.truncated else ()
    return VideoOutcome(
        video_id=video.video_id,
        row=video.row,
        status=VideoStatus.TRUNCATED if clip.truncated else VideoStatus.OK,
        filled=True,
        reason="; ".join((*loss, *clip.notes)) or None,
        duration_seconds=clip.source.duration_seconds,
        fps=clip.source.fps,
        codec=clip.source.codec,
        source_bytes=file_bytes(path),
        source_sha256=file_sha256(path),
    )
