"""Videos -> frames and masks: plan the shards that are pending, make each in one task, say how every video ended."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from pipeline.datasets.published import published_of
from pipeline.datasets.records import Dataset, VideoRecord
from pipeline.datasets.report import expected_videos
from pipeline.frames.options import PreprocessOptions
from pipeline.frames.task import PreprocessTask, preprocess_shard
from pipeline.isolation.decoder import DEFAULT_DECODER, Decoder, OneAtATime
from pipeline.masks.content_cuts import check_cuts
from pipeline.run.events import Listener, Message, Phase, RunPlanned, ignore_events
from pipeline.run.options import SourceCheck
from pipeline.run.partition import WHOLE, Partition
from pipeline.run.plan import PendingShard, Plan, Tally, make_plan
from pipeline.run.software import FRAME_SOFTWARE, software_versions
from pipeline.run.sources import changed_rows, file_bytes
from pipeline.run.words import plural
from pipeline.upkeep.finalise import close_frames
from pipeline.workers.executors import Executor, run_synchronously
from store.catalog import Catalog
from store.clips.shards import create_clip_arrays, create_mask_arrays
from store.commits import CommitRecord
from store.completion import committed_of_each
from store.growth import create_store
from store.json_values import JSON
from store.merging import Growth
from store.places.folder import StoreFolder
from store.schema import Caption, Shard, SplitLayout, Video
from store.stages import FRAMES_STAGE, masks_stage
from store.store import Manifest, Store

SORTED_UP_TO = 50_000
"""Videos: a plan of more is taken in its own order, for each would have to be looked up on the disk first."""
BYTES_A_SECOND = 4e6
"""Of video, decoded and resized by one core: the median of 53 clips of MSVD, MSR-VTT and Panda-70M; 2.2e6 to 6.5e6."""
SECONDS_A_VIDEO = 0.03
"""What one takes beside its bytes: opening it, its masks, writing its clip."""
NUM_ESTIMATED = 200
"""Videos whose bytes are looked up to estimate what they take. More take long even if they are empty."""
NUM_LOOKING = 16
"""Videos that are looked at at a time, to find those that have changed."""


@dataclass(frozen=True, slots=True)
class VideoSource:
    """Where the videos are, and how they are read."""

    root: Path
    """The folder that the paths of the videos are relative to."""
    decoder: Decoder = DEFAULT_DECODER
    check: SourceCheck = SourceCheck.SIZE
    """How a video is compared with what its stored clip was made of."""


@dataclass(frozen=True, slots=True)
class ShardsMade:
    """How a run of `preprocess` ended."""

    plan: Plan
    tally: Tally
    """Of all videos of the plan: those of this run and of earlier ones."""
    num_frames: int
    """Frames stored by this run."""
    num_source_bytes: int
    """Bytes of the videos that this run read."""


def open_store(
    dataset: Dataset,
    folder: StoreFolder,
    options: PreprocessOptions,
    *,
    update_captions: bool = False,
    is_cleared: bool = False,
) -> tuple[Store, Growth]:
    """Make the store of a data set, or open it where the same options made it, and add the videos that are new.

    The flags are those of `create_store`.

    Raises:
        StoreMismatchError: Other options made it, or videos of it are gone; the message names both values.
        InputError: `cuts="content"` for the masks, and scenedetect is not installed.
    """
    check_cuts(options.masks)
    catalog = _catalog(dataset)
    splits = {split: _layout(catalog, split, options) for split in catalog.splits}
    manifest = Manifest(
        dataset={
            "name": dataset.name,
            "digest": catalog.digest(),
            "protocol_split": dataset.protocol_split,
            "caption_unit": str(dataset.caption_unit),
            # As published, where the set is known: the store can then tell that the source lacks videos.
            "num_videos_expected": dict(expected_videos(dataset, published_of(dataset.name, dataset.protocol_split))),
        },
        shard_size=options.shard_size,
        splits=splits,
        options=options.frame_identity(),
        software=software_versions(FRAME_SOFTWARE),
        frame_codec=options.frame_codec,
        neighbours=options.neighbours,
    )
    store, growth = create_store(folder, manifest, catalog, update_captions=update_captions, is_cleared=is_cleared)
    made_by: dict[str, JSON] = {"software": dict(store.manifest.software)}
    create_clip_arrays(store, {**made_by, "options": options.frame_identity()})
    mask_attributes: dict[str, JSON] = {**made_by, "options": options.masks.identity()}
    create_mask_arrays(store, options.mask_name, mask_attributes, soft=options.masks.soft)
    return store, growth


def plan_preprocess(
    store: Store,
    options: PreprocessOptions,
    *,
    retry_failed: bool = False,
    changed: Mapping[Shard, frozenset[int]] | None = None,
    partition: Partition = WHOLE,
    listener: Listener = ignore_events,
) -> Plan:
    """Which shards of a partition are pending; on request, also those in which a video failed or has changed."""
    shards = partition.take(store.all_shards())
    stages = [FRAMES_STAGE, masks_stage(options.mask_name)]
    return make_plan(store, shards, stages, retry_failed=retry_failed, changed=changed, listener=listener)


def videos_to_decode(store: Store, shards: Iterable[PendingShard]) -> Iterator[Video]:
    """The videos that are decoded for some shards: masks alone are made from stored frames, and kept rows stay."""
    for pending in shards:
        if FRAMES_STAGE in pending.stages:
            yield from (one for one in store.catalog.shard_videos(pending.shard) if one.row not in pending.kept_rows)


@dataclass(frozen=True, slots=True)
class Decoding:
    """What there is to decode, of the first `NUM_ESTIMATED` videos."""

    num_files: int
    """Each is decoded by one process."""
    seconds: float
    """What they take one core, about."""


def estimate_decoding(store: Store, videos_root: Path, shards: Iterable[PendingShard]) -> Decoding:
    """What there is to decode of some shards."""
    # Lazily: after so many, no further part of the catalogue is read.
    paths = [video.path for video in islice(videos_to_decode(store, shards), NUM_ESTIMATED)]
    files = set(paths)
    num_bytes = sum(file_bytes(videos_root / path) for path in files)
    return Decoding(len(files), SECONDS_A_VIDEO * len(paths) + num_bytes / BYTES_A_SECOND)


def preprocess_shards(
    store: Store,
    source: VideoSource,
    plan: Plan,
    options: PreprocessOptions,
    executor: Executor = run_synchronously,
    listener: Listener = ignore_events,
) -> ShardsMade:
    """Run a plan, and count how every video of the store ended. Nothing that it started outlives it.

    A video whose decoding the machine stopped is tried once more when all others are done, alone: what took the memory
    may have been another one.
    """
    shards = _largest_first(store, source.root, plan, listener)
    listener(RunPlanned("videos", plan.complete.num_videos + plan.num_videos_pending, plan.complete.num_videos))
    tasks = _tasks(store, source, shards, options)
    tallies: dict[Shard, Tally] = {}
    num_frames = num_source_bytes = 0

    def run(tasks: Iterable[PreprocessTask]) -> None:
        nonlocal num_frames, num_source_bytes
        with closing(executor(preprocess_shard, tasks, listener)) as reports:
            for report in reports:
                tallies[report.shard] = report.tally  # a shard that is tried again replaces its first tally
                num_frames += report.num_frames
                num_source_bytes += report.num_source_bytes

    try:
        run(tasks)
        put_off = [_without_decoded(one, tallies[one.shard]) for one in plan.pending if tallies[one.shard].pending]
        if put_off:
            number = plural(sum(len(tallies[one.shard].pending) for one in put_off), "video")
            listener(Message(f"{number} tried again alone: the machine stopped the decoding"))
        # One executor call a task, so that nothing else runs beside it: what took the memory may have been another
        # video.
        for task in _tasks(store, replace(source, decoder=OneAtATime(source.decoder)), put_off, options):
            run([task])
    finally:
        # Also after an error: idle decoders would stay for as long as this process lives.
        source.decoder.close()
    tally = Tally.sum([plan.complete, *(tallies[pending.shard] for pending in plan.pending)])
    # A part of an array job knows nothing of the others' failures: `fda finalise` writes the table of all.
    if plan.num_shards == len(store.all_shards()) and not tally.pending:
        close_frames(store, tally)
    return ShardsMade(plan, tally, num_frames, num_source_bytes)


def _without_decoded(pending: PendingShard, tally: Tally) -> PendingShard:
    """A shard with only those videos to make that are still pending."""
    rows, shard = {video.row for video in tally.pending}, pending.shard
    return replace(pending, kept_rows=tuple(row for row in range(shard.start, shard.stop) if row not in rows))


def find_changed(
    store: Store,
    shards: Sequence[Shard],
    videos_root: Path,
    check: SourceCheck,
    listener: Listener = ignore_events,
) -> dict[Shard, frozenset[int]]:
    """Complete shard -> rows whose videos have changed since they were decoded.

    Many files are looked at at a time: to ask a network file system for one takes a millisecond.
    """
    if check is SourceCheck.OFF:
        return {}

    def look(shard: Shard, record: CommitRecord) -> tuple[Shard, frozenset[int]]:
        videos = store.catalog.shard_videos(shard)
        paths = [(outcome, videos_root / video.path) for outcome, video in zip(record.outcomes, videos, strict=True)]
        return shard, changed_rows(paths, check)

    found: dict[Shard, frozenset[int]] = {}
    phase = Phase("videos looked at", sum(shard.num_rows for shard in shards), listener)
    with ThreadPoolExecutor(NUM_LOOKING, thread_name_prefix="fda-look") as pool:
        # A generator: as many records are in memory as a batch has, not as the store has.
        complete = ((shard, record) for shard, (record,) in committed_of_each(store, shards, [FRAMES_STAGE]) if record)
        while batch := list(islice(complete, 64)):
            for shard, rows in pool.map(lambda one: look(*one), batch):
                if rows:
                    found[shard] = rows
                phase.done(shard.num_rows)
    return found


def _largest_first(store: Store, videos_root: Path, plan: Plan, listener: Listener) -> list[PendingShard]:
    """The shards that are pending, those with most bytes of video first, unless there are too many to look.

    What takes long then begins early. In the order of the source, the last shard may hold a film, at which one worker
    works while the others have run out of shards. A shard is made the same wherever it stands.
    """
    if plan.num_videos_pending > SORTED_UP_TO or len(plan.pending) < 2:
        return list(plan.pending)
    files = {one: {video.path for video in store.catalog.shard_videos(one.shard)} for one in plan.pending}
    paths, sizes = set[str]().union(*files.values()), dict[str, int]()
    waiting, phase = iter(paths), Phase("files looked at", len(paths), listener)
    with ThreadPoolExecutor(NUM_LOOKING, thread_name_prefix="fda-look") as pool:
        while batch := list(islice(waiting, 1024)):
            sizes.update(zip(batch, pool.map(lambda path: file_bytes(videos_root / path), batch), strict=True))
            phase.done(len(batch))
    return sorted(plan.pending, key=lambda one: sum(sizes[path] for path in files[one]), reverse=True)


def _tasks(
    store: Store, source: VideoSource, shards: Iterable[PendingShard], options: PreprocessOptions
) -> Iterator[PreprocessTask]:
    for pending in shards:
        videos = store.catalog.shard_videos(pending.shard)
        yield PreprocessTask(
            folder=store.folder,
            videos_root=source.root,
            shard=pending.shard,
            videos=videos,
            stages=pending.stages,
            kept_rows=pending.kept_rows,
            check=source.check,
            options=options,
            decoder=source.decoder,
        )


def _catalog(dataset: Dataset) -> Catalog:
    """Give each video its row: splits in the order in which they first appear, videos in the order of the source."""
    records = dataset.records
    videos = (
        Video(one.video_id, split, row, one.path, one.window.start_seconds, one.window.end_seconds, one.category)
        for split in records.split_sizes
        for row, one in enumerate(records.of_split(split))
    )
    captions = (one for split in records.split_sizes for one in _captions(split, records.of_split(split)))
    return Catalog.of(videos, captions)


def _captions(split: str, records: Iterable[VideoRecord]) -> Iterator[Caption]:
    row = 0
    for record in records:
        for number, text in enumerate(record.captions):
            # Numbered within its video, so that the id of a caption does not change when the store grows.
            yield Caption(f"{record.video_id}#{number}", record.video_id, split, row, text)
            row += 1


def _layout(catalog: Catalog, split: str, options: PreprocessOptions) -> SplitLayout:
    decode = options.decode_options(split)
    return SplitLayout(
        num_videos=catalog.video_rows.count(split),
        num_captions=catalog.caption_rows.count(split),
        num_frames=decode.num_frames,
        height=decode.image_size,
        width=decode.image_size,
    )
