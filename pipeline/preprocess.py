"""Videos -> frames and masks: plan the shards that are owed, make each in one task, say how every video ended."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

import cv2

from pipeline.datasets.published import published_of
from pipeline.datasets.records import Dataset, VideoRecord
from pipeline.datasets.report import expected_videos
from pipeline.events import ItemsDone, Listener, RunPlanned, Tell, ignore_events
from pipeline.executors import Executor, run_synchronously
from pipeline.finalise import close_frames
from pipeline.isolation.decoder import DEFAULT_DECODER, Decoder, DecodeRequest
from pipeline.masks import Difference, MaskOptions, clip_masks
from pipeline.partition import WHOLE, Partition
from pipeline.plan import OwedShard, Plan, Tally, make_plan
from pipeline.shard_frames import MadeFrames, make_frames, video_request
from pipeline.shard_masks import make_masks
from pipeline.software import FRAME_SOFTWARE, software_versions
from pipeline.sources import SourceCheck, changed_rows, file_bytes
from pipeline.video.clips import DecodedClip, DecodeOptions, Resize
from pipeline.video.sampling import UNIFORM, Sampling
from store.arrays import JSON
from store.catalog import Catalog
from store.clips import create_clip_arrays, create_mask_arrays, outcomes_of, read_frames
from store.codecs import CodecName
from store.commits import FRAMES_STAGE, CommitRecord, committed_of_each, masks_stage
from store.files import StoreFolder, check_name
from store.growth import Growth, create_store
from store.jpeg import MAX_SIDE
from store.schema import Caption, Shard, SplitLayout, Video
from store.store import Manifest, Store

TRAIN_SPLIT = "train"
SORTED_UP_TO = 50_000
"""Videos: a plan of more is taken in its own order, for each would have to be looked up on the disk first."""
NUM_LOOKING = 16
"""Videos that are looked at at a time, to find those that have changed."""
_LIMITS = DecodeOptions(num_frames=1)


@dataclass(frozen=True, slots=True)
class PreprocessOptions:
    """Everything that decides the bytes of frames and masks, and the limits within which a video is decoded."""

    train_frames: int = 6
    """Frames of a clip in the split `train` (FDA-CLIP: 6)."""
    eval_frames: int = 12
    """Frames of a clip in every other split (FDA-CLIP: 12)."""
    sampling: Sampling = UNIFORM
    image_size: int = 224
    """Side of the stored frames, pixels: the short side is resized to it, the centre is cut out."""
    resize: Resize = Resize.SWSCALE
    neighbours: bool = False
    """Whether to keep, of each frame, the next one of the video in grey: for masks of true neighbours."""
    frame_codec: CodecName = "raw"
    """How frames are stored, see `store.codecs`."""
    shard_size: int = 16
    """Videos a shard."""
    timeout_seconds: float = 120.0
    """A video that decodes for longer is given up."""
    max_pixels: int = _LIMITS.max_pixels
    """Of a picture, width times height; a video above any of these limits is refused."""
    max_packets: int = _LIMITS.max_packets
    max_streams: int = _LIMITS.max_streams
    mask_name: str = "default"
    masks: MaskOptions = field(default_factory=MaskOptions)

    def __post_init__(self) -> None:
        if self.shard_size < 1:
            raise ValueError(f"shard_size must be at least 1, got {self.shard_size}")
        check_name("mask set", self.mask_name)
        for split in (TRAIN_SPLIT, "test"):
            self.decode_options(split)  # which checks what is in it
        if self.masks.difference == Difference.CONSECUTIVE and not self.neighbours:
            raise ValueError(
                "difference 'consecutive' compares each frame with the next one of its video: give --neighbours as "
                "well, so that it is kept, or use difference 'sampled'"
            )
        num_frames = max(self.train_frames, self.eval_frames)
        if self.frame_codec == "jpeg" and num_frames * self.image_size > MAX_SIDE:
            raise ValueError(
                f"frame_codec 'jpeg' takes clips of up to {MAX_SIDE} pixels, frames times their side, got "
                f"{num_frames} x {self.image_size}: use fewer or smaller frames, or another frame_codec"
            )

    def decode_options(self, split: str) -> DecodeOptions:
        """How the videos of a split are decoded."""
        return DecodeOptions(
            num_frames=self.train_frames if split == TRAIN_SPLIT else self.eval_frames,
            image_size=self.image_size,
            sampling=self.sampling,
            resize=self.resize,
            neighbours=self.neighbours,
            timeout_seconds=self.timeout_seconds,
            max_pixels=self.max_pixels,
            max_packets=self.max_packets,
            max_streams=self.max_streams,
        )

    def frame_identity(self) -> dict[str, JSON]:
        """What two runs must agree on to share one store's frames."""
        return {
            "sampling": self.sampling.to_dict(),
            "train_frames": self.train_frames,
            "eval_frames": self.eval_frames,
            "image_size": self.image_size,
            "geometry": "short side as displayed to image_size, centre crop",
            "resize": str(self.resize),
        }


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
        """The videos that are to be decoded, each by itself: see `pipeline.executors.Divisible`."""
        decode, masks = self.options.decode_options(self.shard.split), self.options.masks
        return tuple(
            VideoTrial(self.decoder, video_request(video, self.videos_root, decode), masks) for video in self._owed
        )

    def without(self, deaths: Mapping[int, int]) -> PreprocessTask:
        """Set videos aside: number of the part -> workers that died of it."""
        reasons = {
            self._owed[number].row: f"set aside: its worker died {num} times while it was decoded alone "
            "(killed, or out of memory)"
            for number, num in deaths.items()
        }
        return replace(self, set_aside=tuple(reasons.items()))

    @property
    def _owed(self) -> tuple[Video, ...]:
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


@dataclass(frozen=True, slots=True)
class PreprocessResult:
    """How a run of `preprocess` ended."""

    plan: Plan
    tally: Tally
    """Of all videos of the plan: those of this run and of earlier ones."""
    num_frames: int
    """Frames stored by this run."""
    num_source_bytes: int
    """Bytes of the videos that this run read."""


def open_store(
    dataset: Dataset, folder: StoreFolder, options: PreprocessOptions, *, update_captions: bool = False
) -> tuple[Store, Growth]:
    """Make the store of a data set, or open it where the same options made it, and add the videos that are new.

    Raises:
        StoreMismatchError: Other options made it, or videos of it are gone; the message names both values.
    """
    catalog = _catalog(dataset)
    splits = {split: _layout(catalog, split, options) for split in catalog.splits}
    manifest = Manifest(
        dataset={
            "name": dataset.name,
            "digest": catalog.digest(),
            "protocol_split": dataset.protocol_split,
            "caption_unit": str(dataset.caption_unit),
            "num_videos_expected": dict(expected_videos(dataset, published_of(dataset.name, dataset.protocol_split))),
        },
        shard_size=options.shard_size,
        splits=splits,
        options=options.frame_identity(),
        software=software_versions(FRAME_SOFTWARE),
        frame_codec=options.frame_codec,
        neighbours=options.neighbours,
    )
    store, growth = create_store(folder, manifest, catalog, update_captions=update_captions)
    made_by: dict[str, JSON] = {"software": dict(store.manifest.software)}
    create_clip_arrays(store, {**made_by, "options": options.frame_identity()})
    create_mask_arrays(store, options.mask_name, {**made_by, "options": options.masks.identity()})
    return store, growth


def plan_preprocess(
    store: Store,
    options: PreprocessOptions,
    *,
    retry_failed: bool = False,
    changed: Mapping[Shard, frozenset[int]] | None = None,
    partition: Partition = WHOLE,
) -> Plan:
    """Which shards of a partition are owed; on request, also those in which a video failed or has changed."""
    shards = partition.take(all_shards(store))
    stages = [FRAMES_STAGE, masks_stage(options.mask_name)]
    return make_plan(store, shards, stages, retry_failed=retry_failed, changed=changed)


def all_shards(store: Store) -> list[Shard]:
    """The shards of all splits."""
    return [shard for split in store.manifest.splits for shard in store.shards(split)]


def owed_videos(store: Store, plan: Plan, videos_root: Path) -> Iterator[Path]:
    """The files that a run of the plan reads."""
    for owed in plan.owed:
        yield from (videos_root / video.path for video in store.catalog.shard_videos(owed.shard))


def preprocess(
    store: Store,
    videos_root: Path,
    plan: Plan,
    options: PreprocessOptions,
    executor: Executor = run_synchronously,
    listener: Listener = ignore_events,
    decoder: Decoder = DEFAULT_DECODER,
    check: SourceCheck = SourceCheck.SIZE,
) -> PreprocessResult:
    """Run a plan, and count how every video of the store ended. Nothing that it started outlives it."""
    listener(RunPlanned("videos", plan.standing.num_videos + plan.num_videos_owed, plan.standing.num_videos))
    shards = _largest_first(store, videos_root, plan)
    tasks = _tasks(store, videos_root, shards, options, decoder, check)
    tallies: dict[Shard, Tally] = {}
    num_frames = num_source_bytes = 0
    try:
        with closing(executor(preprocess_shard, tasks, listener)) as reports:
            for report in reports:
                tallies[report.shard] = report.tally
                num_frames += report.num_frames
                num_source_bytes += report.num_source_bytes
    finally:
        decoder.close()
    tally = Tally.sum([plan.standing, *(tallies[owed.shard] for owed in plan.owed)])
    if plan.num_shards == len(all_shards(store)):
        close_frames(store, tally)
    return PreprocessResult(plan, tally, num_frames, num_source_bytes)


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
        make_masks(store, shard, options.mask_name, options.masks, made.clips, made.outcomes)
    tally = Tally.of(shard.split, made.outcomes)
    if FRAMES_STAGE not in task.stages:
        tell(ItemsDone(tally.num_videos, len(tally.failures)))
    return ShardReport(shard, tally, made.num_source_bytes, made.num_frames)


def find_changed(
    store: Store, shards: Sequence[Shard], videos_root: Path, check: SourceCheck
) -> dict[Shard, frozenset[int]]:
    """Shard -> rows whose videos are other files now than when they were decoded, of the shards that stand.

    Many files are looked at at a time: to ask a network file system for one takes a millisecond.
    """
    if check is SourceCheck.OFF:
        return {}

    def look(shard: Shard, record: CommitRecord) -> tuple[Shard, frozenset[int]]:
        videos = store.catalog.shard_videos(shard)
        paths = [(outcome, videos_root / video.path) for outcome, video in zip(record.outcomes, videos, strict=True)]
        return shard, changed_rows(paths, check)

    found: list[tuple[Shard, frozenset[int]]] = []
    with ThreadPoolExecutor(NUM_LOOKING, thread_name_prefix="fda-look") as pool:
        standing = ((shard, record) for shard, (record,) in committed_of_each(store, shards, [FRAMES_STAGE]) if record)
        while batch := list(islice(standing, 64)):
            found += pool.map(lambda one: look(*one), batch)
    return {shard: rows for shard, rows in found if rows}


def _largest_first(store: Store, videos_root: Path, plan: Plan) -> list[OwedShard]:
    """The shards that are owed, those with most bytes of video first, unless there are too many to look.

    What takes long then begins early. In the order of the source, the last shard may hold a film, at which one worker
    works while the others have run out of shards. A shard is made the same wherever it stands.
    """
    if plan.num_videos_owed > SORTED_UP_TO:
        return list(plan.owed)

    def num_bytes(owed: OwedShard) -> int:
        return sum(file_bytes(videos_root / video.path) for video in store.catalog.shard_videos(owed.shard))

    return sorted(plan.owed, key=num_bytes, reverse=True)


def _tasks(
    store: Store,
    videos_root: Path,
    shards: Iterable[OwedShard],
    options: PreprocessOptions,
    decoder: Decoder,
    check: SourceCheck,
) -> Iterator[PreprocessTask]:
    for owed in shards:
        videos = store.catalog.shard_videos(owed.shard)
        yield PreprocessTask(
            folder=store.folder,
            videos_root=videos_root,
            shard=owed.shard,
            videos=videos,
            stages=owed.stages,
            kept_rows=owed.kept_rows,
            check=check,
            options=options,
            decoder=decoder,
        )


def _catalog(dataset: Dataset) -> Catalog:
    """Give each video its row: splits in the order in which they first appear, videos in the order of the source."""
    splits: dict[str, list[VideoRecord]] = {}
    for record in dataset.videos:
        splits.setdefault(record.split, []).append(record)
    videos = (
        Video(one.video_id, split, row, one.path, one.window.start_seconds, one.window.end_seconds, one.category)
        for split, records in splits.items()
        for row, one in enumerate(records)
    )
    captions = (caption for split, records in splits.items() for caption in _captions(split, records))
    return Catalog.of(videos, captions)


def _captions(split: str, records: Sequence[VideoRecord]) -> Iterator[Caption]:
    row = 0
    for record in records:
        for number, text in enumerate(record.captions):
            yield Caption(f"{record.video_id}#{number}", record.video_id, split, row, text)
            row += 1


def _layout(catalog: Catalog, split: str, options: PreprocessOptions) -> SplitLayout:
    decode = options.decode_options(split)
    return SplitLayout(
        num_videos=catalog.split_videos(split).num_rows,
        num_captions=catalog.split_captions(split).num_rows,
        num_frames=decode.num_frames,
        height=decode.image_size,
        width=decode.image_size,
    )
