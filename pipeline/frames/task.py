"""What a worker does for one shard of videos."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import cv2

from pipeline.frames.options import PreprocessOptions
from pipeline.frames.shard import MadeFrames, make_frames, video_request
from pipeline.isolation.decoder import Decoder, DecodeRequest
from pipeline.masks.clips import clip_masks
from pipeline.masks.options import MaskOptions, MaskSet
from pipeline.masks.shard import make_masks
from pipeline.run.events import ItemsDone, Tell
from pipeline.run.options import SourceCheck
from pipeline.run.plan import Tally
from pipeline.video.clips import DecodedClip
from store.clips.shards import read_frames
from store.completion import outcomes_of
from store.places.folder import StoreFolder
from store.schema import Shard, Video
from store.stages import FRAMES_STAGE, masks_stage
from store.store import Store


@dataclass(frozen=True, slots=True)
class PreprocessTask:
    """One shard to make: everything a worker needs, and nothing that grows with the data set."""

    folder: StoreFolder
    """The store."""
    videos_root: Path
    shard: Shard
    videos: tuple[Video, ...]
    stages: tuple[str, ...]
    kept_rows: tuple[int, ...]
    """Rows whose frames stand and are kept."""
    check: SourceCheck
    options: PreprocessOptions
    decoder: Decoder
    set_aside: tuple[tuple[int, str], ...] = ()
    """Rows that are not decoded, and why."""

    def __str__(self) -> str:
        return f"shard {self.shard.key} (from video {self.videos[0].video_id!r} to {self.videos[-1].video_id!r})"

    def parts(self) -> tuple[VideoTrial, ...]:
        """The videos that are to be decoded, each by itself: see `pipeline.workers.executors.Divisible`."""
        decode, masks = self.options.decode_options(self.shard.split), self.options.masks
        return tuple(
            VideoTrial(self.decoder, video_request(video, self.videos_root, decode), masks) for video in self._pending
        )

    def without(self, deaths: Mapping[int, int]) -> PreprocessTask:
        """Set videos aside: number of the part -> workers that died of it."""
        reasons = {
            self._pending[number].row: f"set aside: its worker died {num} times while it was decoded alone "
            "(killed, or out of memory)"
            for number, num in deaths.items()
        }
        return replace(self, set_aside=tuple(reasons.items()))

    @property
    def _pending(self) -> tuple[Video, ...]:
        if FRAMES_STAGE not in self.stages:
            return ()
        return tuple(video for video in self.videos if video.row not in self.kept_rows)


@dataclass(frozen=True, slots=True)
class VideoTrial:
    """Does with one video what a task does with each, and keeps nothing: to see whether the worker survives it."""

    decoder: Decoder
    request: DecodeRequest
    masks: MaskOptions

    def __call__(self) -> None:
        """Decode it, and make its masks."""
        cv2.setNumThreads(1)
        with closing(self.decoder.decode([self.request])) as decoded:
            for clip in decoded:
                if isinstance(clip, DecodedClip):
                    sample = clip.sample
                    num_frames = int((sample.frame_index >= 0).sum())
                    next_grey = None if sample.next_grey is None else sample.next_grey[:num_frames]
                    clip_masks(sample.frames[:num_frames], self.masks, next_grey)


@dataclass(frozen=True, slots=True)
class ShardReport:
    """What travels back from a worker."""

    shard: Shard
    tally: Tally
    num_source_bytes: int
    num_frames: int


def preprocess_shard(task: PreprocessTask, tell: Tell) -> ShardReport:
    """Make what one shard owes. The only writer of this shard's files; running it twice writes the same bytes."""
    cv2.setNumThreads(1)
    tell(ItemsDone())  # the work begins
    store = Store.open(task.folder)
    shard, options = task.shard, task.options
    if FRAMES_STAGE in task.stages:
        made = make_frames(
            store,
            shard,
            task.videos,
            task.videos_root,
            options.decode_options(shard.split),
            kept_rows=task.kept_rows,
            set_aside=dict(task.set_aside),
            check=task.check,
            decoder=task.decoder,
            tell=tell,
        )
    else:
        made = MadeFrames(read_frames(store, shard), outcomes_of(store, shard))
    if masks_stage(options.mask_name) in task.stages:
        make_masks(store, shard, MaskSet(options.mask_name, options.masks), made.clips, made.outcomes)
    tally = Tally.of(shard.split, made.outcomes)
    if FRAMES_STAGE not in task.stages:
        tell(ItemsDone(tally.num_videos, len(tally.failures)))
    return ShardReport(shard, tally, made.num_source_bytes, made.num_frames)
