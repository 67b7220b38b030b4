"""What a worker does for one shard of videos."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.frames.options import PreprocessOptions
from pipeline.frames.shard import MadeFrames, make_frames
from pipeline.isolation.decoder import Decoder
from pipeline.masks.options import MaskSet
from pipeline.masks.shard import draft_masks_of
from pipeline.run.events import ItemsDone, Tell
from pipeline.run.options import SourceCheck
from pipeline.run.plan import Tally
from pipeline.run.threads import one_cv2_thread
from store.clips.shards import read_frames
from store.commits import commit_shards
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

    def __str__(self) -> str:
        return f"shard {self.shard.key} (from video {self.videos[0].video_id!r} to {self.videos[-1].video_id!r})"


@dataclass(frozen=True, slots=True)
class ShardReport:
    """What travels back from a worker."""

    shard: Shard
    tally: Tally
    num_source_bytes: int
    num_frames: int


@one_cv2_thread()
def preprocess_shard(task: PreprocessTask, tell: Tell) -> ShardReport:
    """Make what is pending of one shard, as the only writer of its files; running it twice writes the same bytes."""
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
            check=task.check,
            decoder=task.decoder,
            tell=tell,
        )
    else:
        made = MadeFrames(read_frames(store, shard), outcomes_of(store, shard))
    tally = Tally.of(shard.split, made.outcomes)
    tell(ItemsDone())  # where a run that has ended stops: masks may take seconds
    drafts = [] if made.draft is None else [made.draft]
    # With a video pending, frames are kept aside and not committed, so masks of them would be of no committed frames.
    if masks_stage(options.mask_name) in task.stages and not tally.pending:
        mask_set = MaskSet(options.mask_name, options.masks)
        drafts.append(draft_masks_of(store, shard, mask_set, made.clips, made.outcomes))
    # Frames and masks in one call: the files of both are written first, then both records.
    commit_shards(store.folder, drafts)
    if FRAMES_STAGE not in task.stages:
        tell(ItemsDone(tally.num_videos, len(tally.failures)))
    return ShardReport(shard, tally, made.num_source_bytes, made.num_frames)
