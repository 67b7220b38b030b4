"""Videos -> frames and masks: plan the shards that are owed, make each in one task, say how every video ended."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import cv2

from pipeline.datasets.records import Dataset
from pipeline.events import Listener, RunPlanned, ShardDone, ignore_events
from pipeline.executors import Executor, run_synchronously
from pipeline.masks import MaskOptions
from pipeline.plan import Plan, Tally, make_plan
from pipeline.shard_frames import MadeFrames, make_frames
from pipeline.shard_masks import make_masks
from pipeline.software import FRAME_SOFTWARE, software_versions
from pipeline.video.decoding import DecodeOptions
from store.arrays import JSON
from store.catalog import Catalog
from store.clips import (
    FRAMES_STAGE,
    create_clip_arrays,
    create_mask_arrays,
    masks_stage,
    outcomes_of,
    read_frames,
)
from store.files import check_name
from store.schema import Caption, Shard, SplitLayout, Video
from store.store import Manifest, Store

TRAIN_SPLIT = "train"


@dataclass(frozen=True, slots=True)
class PreprocessOptions:
    """Everything that decides the bytes of frames and masks, and the limits within which a video is decoded."""

    train_frames: int = 6
    """Frames of a clip in the split `train` (FDA-CLIP: 6)."""
    eval_frames: int = 12
    """Frames of a clip in every other split (FDA-CLIP: 12)."""
    image_size: int = 224
    """Side of the stored frames, pixels: the short side is resized to it, the centre is cut out."""
    shard_size: int = 16
    """Videos a shard."""
    timeout_seconds: float = 120.0
    """A video that decodes for longer is given up."""
    mask_name: str = "default"
    masks: MaskOptions = field(default_factory=MaskOptions)

    def __post_init__(self) -> None:
        if self.shard_size < 1:
            raise ValueError(f"shard_size must be at least 1, got {self.shard_size}")
        check_name("mask set", self.mask_name)
        for split in (TRAIN_SPLIT, "test"):
            self.decode_options(split)  # which checks what is in it

    def decode_options(self, split: str) -> DecodeOptions:
        """How the videos of a split are decoded."""
        return DecodeOptions(
            num_frames=self.train_frames if split == TRAIN_SPLIT else self.eval_frames,
            image_size=self.image_size,
            timeout_seconds=self.timeout_seconds,
        )

    def frame_identity(self) -> dict[str, JSON]:
        """What two runs must agree on to share one store's frames."""
        return {
            "sampling": "uniform: the centres of num_frames equal spans of the clip, by presentation time",
            "train_frames": self.train_frames,
            "eval_frames": self.eval_frames,
            "image_size": self.image_size,
            "geometry": "short side by PIL bicubic, centre crop",
        }

    def mask_identity(self) -> dict[str, JSON]:
        """What two runs must agree on to share one mask set."""
        return {"difference": "sampled", **asdict(self.masks)}


@dataclass(frozen=True, slots=True)
class PreprocessTask:
    """One shard to make: everything a worker needs, and nothing that grows with the data set."""

    place: str
    """The store."""
    videos_root: Path
    shard: Shard
    videos: tuple[Video, ...]
    stages: tuple[str, ...]
    only_failed: bool
    """Whether to decode only the videos that have no clip yet."""
    options: PreprocessOptions

    def __str__(self) -> str:
        return f"shard {self.shard.key} (from video {self.videos[0].video_id!r} to {self.videos[-1].video_id!r})"


@dataclass(frozen=True, slots=True)
class ShardReport:
    """What travels back from a worker."""

    shard: Shard
    tally: Tally
    num_source_bytes: int
    num_frames: int


@dataclass(frozen=True, slots=True)
class PreprocessResult:
    """How a run of `preprocess` ended."""

    plan: Plan
    tally: Tally
    """Of all videos of the store: those of this run and of earlier ones."""
    num_frames: int
    """Frames stored by this run."""
    num_source_bytes: int
    """Bytes of the videos that this run read."""


def open_store(dataset: Dataset, place: str, options: PreprocessOptions) -> Store:
    """Make the store of a data set, or open it where the same data set and options made it.

    Raises:
        StoreMismatchError: Other inputs or options made it; the message names both values.
    """
    ordered = _in_array_order(dataset)
    catalog = Catalog.of(*ordered)
    splits = {split: _layout(catalog, split, options) for split in catalog.splits}
    manifest = Manifest(
        dataset={"name": dataset.name, "digest": dataset.digest()},
        shard_size=options.shard_size,
        splits=splits,
        options=options.frame_identity(),
        software=software_versions(FRAME_SOFTWARE),
    )
    store = Store.create(place, manifest, catalog)
    made_by: dict[str, JSON] = {"dataset": manifest.dataset["digest"], "software": dict(store.manifest.software)}
    create_clip_arrays(store, {**made_by, "options": options.frame_identity()})
    create_mask_arrays(store, options.mask_name, {**made_by, "options": options.mask_identity()})
    return store


def plan_preprocess(store: Store, options: PreprocessOptions, *, retry_failed: bool = False) -> Plan:
    """Which shards of which splits are owed; on request, also those in which a video failed."""
    shards = [shard for split in store.manifest.splits for shard in store.shards(split)]
    return make_plan(store, shards, [FRAMES_STAGE, masks_stage(options.mask_name)], retry_failed=retry_failed)


def preprocess(
    store: Store,
    videos_root: Path,
    plan: Plan,
    options: PreprocessOptions,
    executor: Executor = run_synchronously,
    listener: Listener = ignore_events,
) -> PreprocessResult:
    """Run a plan, and count how every video of the store ended."""
    listener(RunPlanned("videos", plan.standing.num_videos + plan.num_videos_owed, plan.standing.num_videos))
    tally, num_frames, num_source_bytes = plan.standing, 0, 0
    for report in executor(preprocess_shard, _tasks(store, videos_root, plan, options)):
        tally += report.tally
        num_frames += report.num_frames
        num_source_bytes += report.num_source_bytes
        listener(ShardDone(report.shard, report.shard.num_rows, len(report.tally.failures)))
    store.folder.remove_partial_files()
    return PreprocessResult(plan, tally, num_frames, num_source_bytes)


def preprocess_shard(task: PreprocessTask) -> ShardReport:
    """Make what one shard owes. The only writer of this shard's files; running it twice writes the same bytes."""
    cv2.setNumThreads(1)
    store = Store.open(task.place)
    shard, options = task.shard, task.options
    if FRAMES_STAGE in task.stages:
        decode = options.decode_options(shard.split)
        made = make_frames(store, shard, task.videos, task.videos_root, decode, only_failed=task.only_failed)
        num_frames = sum(outcome.filled for outcome in made.outcomes) * made.frames.shape[1]
    else:
        made = MadeFrames(read_frames(store, shard).frames, outcomes_of(store, shard), num_source_bytes=0)
        num_frames = 0
    if masks_stage(options.mask_name) in task.stages:
        make_masks(store, shard, options.mask_name, options.masks, made.frames, made.outcomes)
    return ShardReport(shard, Tally.of(made.outcomes), made.num_source_bytes, num_frames)


def _tasks(store: Store, videos_root: Path, plan: Plan, options: PreprocessOptions) -> Iterator[PreprocessTask]:
    for owed in plan.owed:
        videos = store.catalog.shard_videos(owed.shard)
        yield PreprocessTask(
            place=str(store.folder.root),
            videos_root=videos_root,
            shard=owed.shard,
            videos=videos,
            stages=owed.stages,
            only_failed=owed.only_failed,
            options=options,
        )


def _in_array_order(dataset: Dataset) -> tuple[list[Video], list[Caption]]:
    """Give each video its row: splits in the order in which they first appear, videos in the order of the source."""
    videos: list[Video] = []
    captions: list[Caption] = []
    for split in dict.fromkeys(record.split for record in dataset.videos):
        records = [record for record in dataset.videos if record.split == split]
        caption_row = 0
        for row, record in enumerate(records):
            videos.append(Video(record.video_id, split, row, record.path))
            for number, text in enumerate(record.captions):
                captions.append(Caption(f"{record.video_id}#{number}", record.video_id, split, caption_row, text))
                caption_row += 1
    return videos, captions


def _layout(catalog: Catalog, split: str, options: PreprocessOptions) -> SplitLayout:
    decode = options.decode_options(split)
    return SplitLayout(
        num_videos=catalog.split_videos(split).num_rows,
        num_captions=catalog.split_captions(split).num_rows,
        num_frames=decode.num_frames,
        height=decode.image_size,
        width=decode.image_size,
    )
