"""`fda preprocess`, as one function: read the data set, claim the store, decode the pending shards, record the run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from os import PathLike
from pathlib import Path

from pipeline.datasets.options import SourceOptions
from pipeline.datasets.reading.files import is_video
from pipeline.datasets.report import DatasetReport, splits_in_other_case
from pipeline.datasets.source import ReadSource, read_source, refuse_mistakes
from pipeline.frames.missing import found_again, pending_paths, require_found, sampled
from pipeline.frames.options import DecodingOptions, PreprocessOptions
from pipeline.frames.preprocess import (
    ShardsMade,
    VideoSource,
    estimate_decoding,
    find_changed,
    open_store,
    plan_preprocess,
    preprocess_shards,
    videos_to_decode,
)
from pipeline.isolation.decoder import IsolatedDecoder
from pipeline.masks.mask_sets import summarise_masks
from pipeline.masks.summary import SplitMasks
from pipeline.run.events import Listener, Phase, Reporter, ignore_events
from pipeline.run.fields import check_kinds
from pipeline.run.options import HERE, RunOptions
from pipeline.run.overwriting import announce
from pipeline.run.partition import WHOLE, Partition
from pipeline.run.plan import Plan, Tally, pending_sentence
from pipeline.run.records import RunClock
from pipeline.run.resources import WorkerMemory
from pipeline.run.sharing import sharing
from pipeline.run.software import FRAME_SOFTWARE, software_versions
from pipeline.run.sources import file_bytes
from pipeline.run.words import plural
from pipeline.run.writing import Job, claim_on, recorded
from pipeline.workers.place import InThreads, Workload, check_place, workers_by_default, workers_for
from pipeline.workers.preflight import Preflight
from store.claims.holding import ANY_STAGE
from store.contents import shared_videos
from store.json_values import JSON
from store.merging import Growth
from store.places.folder import StoreFolder
from store.places.opening import folder_at
from store.schema import SplitLayout
from store.stages import FRAMES_STAGE, masks_stage
from store.store import MANIFEST_NAME, Manifest, Store, clear_store, files_to_clear
from store.store import check_place as check_store_place

LARGE_BYTES = 50_000_000
"""A source of so many takes seconds to read: it lists some hundred thousand videos."""


@dataclass(frozen=True, slots=True)
class Used:
    """Of one split: clips that can be used, and videos that there should be."""

    num_clips: int
    num_expected: int


@dataclass(frozen=True, slots=True)
class PreprocessResult:
    """How a run of `preprocess` ended."""

    store: str
    """Where the store is."""
    videos_root: Path
    """The folder that the paths of the videos are relative to."""
    splits: Mapping[str, SplitLayout]
    tally: Tally
    """Of all videos of the plan, those of earlier runs among them: how many, which failed, and which are pending
    because the machine stopped their decoding."""
    num_shards: int
    num_shards_made: int
    """By this run."""
    num_videos_made: int
    num_frames_made: int
    num_source_bytes: int
    """Bytes of the videos that this run read."""
    num_workers: int
    """0 if the work was done in this process."""
    seconds: float
    dataset: DatasetReport
    """What was found of the data set."""
    mask_name: str
    masks: tuple[SplitMasks, ...]
    """What the masks show of each split, or of its part, before the rules for empty and full masks."""
    used: Mapping[str, Used]
    """By split; empty for a part of a job."""
    partition: Partition
    """The part of a job that this was."""
    run: str | None
    """Name of the run record in the store; None if there was nothing to do."""
    warnings: tuple[str, ...]
    """What to know before using the clips."""

    def to_dict(self) -> dict[str, JSON]:
        """The result as JSON."""
        tally = self.tally
        found: dict[str, JSON] = {
            "store": self.store,
            "num_videos": tally.num_videos,
            "num_clips": tally.num_clips,
            "num_clips_truncated": tally.num_truncated,
            "num_shards": self.num_shards,
            "num_shards_made": self.num_shards_made,
            "num_videos_made": self.num_videos_made,
            "num_frames_made": self.num_frames_made,
            "source_bytes_read": self.num_source_bytes,
            "workers": self.num_workers,
            "seconds": round(self.seconds, 3),
            "videos_per_second": round(self.num_videos_made / self.seconds, 3),
            "failures": [
                {"video_id": failure.video_id, "status": str(failure.status), "reason": failure.reason}
                for failure in tally.failures
            ],
            "notes": [{"video_id": one.video_id, "note": one.note} for one in tally.noted],
            "pending": [{"video_id": one.video_id, "reason": one.reason} for one in tally.pending],
            "dataset": self.dataset.to_dict(),
            "masks": [split.to_dict() for split in self.masks],
            "used": {split: asdict(one) for split, one in self.used.items()},
            "warnings": list(self.warnings),
        }
        return found if self.run is None else {**found, "run": self.run}


def preprocess(
    source: str | PathLike[str],
    store: str | PathLike[str],
    options: PreprocessOptions | None = None,
    *,
    reading: SourceOptions | None = None,
    decoding: DecodingOptions | None = None,
    run: RunOptions = HERE,
    listener: Listener = ignore_events,
) -> PreprocessResult:
    """Decode the videos of a data set once, and store frames and motion masks.

    Killed at any moment and called again, it continues where it was, and the store ends with the same bytes. A video
    that cannot be decoded is recorded with its status and reason; it is no error of the run.

    Args:
        source: A manifest (.jsonl, .csv), a folder of videos, or a published data set: see docs/datasets.md.
        store: A folder, or `s3://bucket/prefix`.
        options: What decides the frames and masks.
        reading: How the data set is read.
        decoding: Which videos are decoded again, and how much memory decoding may take.
        run: Where the work is done.
        listener: Hears how far the run is.

    Raises:
        DatasetError: The source cannot be read, or contains what `reading` refuses.
        VideosMissingError: More videos are missing than `decoding` allows.
        StoreMismatchError: Other options made the store; the message names both values.
        StoreBusyError: Another run writes the same.
        UnconfirmedError: `run.overwrite` would remove feature sets, and `run.yes` is not set.
        OptionError: The options do not fit together.
    """
    clock, options, decoding = RunClock(), options or PreprocessOptions(), decoding or DecodingOptions()
    reading = reading or SourceOptions()
    check_kinds(options=(options, PreprocessOptions), reading=(reading, SourceOptions))
    check_kinds(decoding=(decoding, DecodingOptions), run=(run, RunOptions))
    options.masks.check_used()
    check_place(run, worker_memory(options, decoding))
    report = Reporter(listener)
    if not is_video(str(source)) and (num_bytes := file_bytes(Path(source))) >= LARGE_BYTES:
        report.say(f"reading {source}: {num_bytes / 1e6:,.0f} MB")
    read = read_source(Path(source), reading)
    folder = folder_at(store)
    check_store_place(folder)
    return _Run(read, options, decoding, run, report, clock).into(folder)


def worker_memory(options: PreprocessOptions, decoding: DecodingOptions) -> WorkerMemory:
    """What one worker takes."""
    num_frames = max(options.train_frames, options.eval_frames)
    return WorkerMemory(options.shard_size, num_frames, options.image_size, decoding.decoder_memory_mib)


@dataclass(frozen=True, slots=True)
class _Run:
    """One run, from the claim to the result."""

    read: ReadSource
    options: PreprocessOptions
    decoding: DecodingOptions
    run: RunOptions
    report: Reporter
    clock: RunClock

    def into(self, folder: StoreFolder) -> PreprocessResult:
        # In a store that is there, only what is pending is looked for, and that is known under the claim.
        is_new = self.run.overwrite or folder.num_bytes(MANIFEST_NAME) is None
        if is_new:  # before there is a store, and before --overwrite has removed one
            videos = self.read.dataset.videos
            self._require_found([video.path for video in sampled(videos, len(videos))], len(videos), len(videos))
        job = self._job()
        with claim_on(folder, job, self.run, self.report) as claimed:
            store = self._opened(claimed)
            plan = self._plan(store)
            if not is_new:
                shards = self.run.partition.take(store.all_shards())
                # Before the first video is recorded as missing: a wrong folder would record them all.
                self._require_found(*pending_paths(store, plan), sum(shard.num_rows for shard in shards))
            with recorded(claimed, job, self.clock) as record:
                made, num_workers = self._make(store, plan)
                self._tell_what_is_left(store, made)
                # A run that found all there leaves no record: scripts call it again and again.
                record.is_recorded = bool(plan.pending)
                result = self._result(store, made, num_workers, record.name if plan.pending else None)
                record.result = result.to_dict()
        return result

    def _job(self) -> Job:
        options = self.options
        # To remove a store is to write all of it: no run of any stage may be at work.
        stages = [ANY_STAGE] if self.run.overwrite else [FRAMES_STAGE, masks_stage(options.mask_name)]
        asked_for: dict[str, JSON] = {
            **asdict(options),
            "sampling": options.sampling.to_dict(),
            "eval_sampling": None if options.eval_sampling is None else options.eval_sampling.to_dict(),
            "source": str(self.read.source),
            "videos_root": str(self.read.dataset.root.absolute()),
            "dataset": self.read.recognised.layout,
            "split_by_hash": None if self.read.options.split_by_hash is None else dict(self.read.options.split_by_hash),
            "reading": self.read.options.to_dict(),
            "partition": str(self.run.partition),
            "software": dict(software_versions(FRAME_SOFTWARE)),
        }
        # Parts of one job may run at the same time if these agree.
        return Job("preprocess", stages, [self.read.dataset.digest(), asdict(options)], asked_for)

    def _require_found(self, paths: Sequence[str], num_pending: int, num_videos: int) -> None:
        root, limit = self.read.dataset.root, self.decoding.max_missing
        require_found(paths, root, limit, num_pending=num_pending, num_videos=num_videos)

    def _mistaken_splits(self, folder: StoreFolder) -> list[str]:
        """What to tell of splits whose names are like those of the store, and not the same."""
        if folder.num_bytes(MANIFEST_NAME) is None:
            return []
        known = Manifest.from_bytes(folder.read(MANIFEST_NAME), folder.place).splits
        told = self.read.report.warnings
        mistakes = [one for one in splits_in_other_case(self.read.dataset, known) if one not in told]
        if self.read.options.strict:
            refuse_mistakes(self.read.dataset.name, mistakes)
        return mistakes

    def _opened(self, folder: StoreFolder) -> Store:
        """The store with the videos of the data set: new, or grown."""
        is_cleared = self.run.overwrite and folder.num_bytes(MANIFEST_NAME) is not None
        if is_cleared:
            announce(files_to_clear(folder), folder.place, self.report, yes=self.run.yes)
            clear_store(folder)
        # Before the store grows: with a split of another case, it would grow by a split that nobody meant.
        mistaken_splits = [] if is_cleared else self._mistaken_splits(folder)
        store, growth = open_store(
            self.read.dataset,
            folder,
            self.options,
            update_captions=self.decoding.update_captions,
            is_cleared=is_cleared,
        )
        for sentence in self.read.summary():
            self.report.say(sentence)
        for warning in (*self.read.report.warnings, *mistaken_splits):
            self.report.warn(warning)
        if growth.rebuilt is not None:
            self.report.warn(f"the catalogue of the store was rebuilt from its commit records: {growth.rebuilt}")
        for sentence in _growth(growth):
            self.report.say(sentence)
        return store

    def _plan(self, store: Store) -> Plan:
        shards = self.run.partition.take(store.all_shards())
        changed = find_changed(store, shards, self.read.dataset.root, self.decoding.check_videos, self.report.listener)
        if changed:
            number = sum(map(len, changed.values()))
            self.report.say(f"{plural(number, 'video')} changed since decoded: decoded again")
        return plan_preprocess(
            store,
            self.options,
            retry_failed=self.decoding.retry_failed,
            changed=changed,
            partition=self.run.partition,
            listener=self.report.listener,
        )

    def _tell_what_is_left(self, store: Store, made: ShardsMade) -> None:
        num_missing, num_found = found_again(store, made.tally, self.read.dataset.root)
        if num_found:
            exist = "exists" if num_found == 1 else "exist"
            self.report.warn(
                f"{num_found:,} of {plural(num_missing, 'missing video')} now {exist}: --retry-failed decodes them"
            )
        elif not made.plan.pending:
            self.report.say(f"nothing to do: {plural(made.plan.num_shards, 'shard')}, all complete")

    def _make(self, store: Store, plan: Plan) -> tuple[ShardsMade, int]:
        """Decode what is pending; also returns the number of workers."""
        root = self.read.dataset.root
        memory, decoder_mib = worker_memory(self.options, self.decoding), self.decoding.decoder_memory_mib
        estimate = estimate_decoding(store, root, plan.pending)
        processes = IsolatedDecoder(memory_mib=decoder_mib)  # the same, however many of them may be used
        work = Workload(
            num_shards=len(plan.pending),
            memory=memory,
            preflight=partial(
                Preflight.of, store.folder, (root / video.path for video in videos_to_decode(store, plan.pending))
            ),
            alone="in this process and its decoder",
            remedy="--decoder-memory and --shard-size make them smaller",
            in_threads=InThreads(processes.end_used_by, estimate.num_files, memory.decoder_mib),
        )
        default = workers_by_default(work.num_parts, estimate.seconds, num_threads=work.num_shards)
        with workers_for(self.run, work, self.report, default=default) as workers:
            decoder = IsolatedDecoder(memory_mib=decoder_mib, num_processes=workers.num_decoders)
            source = VideoSource(root, decoder, self.decoding.check_videos)
            made = preprocess_shards(store, source, plan, self.options, workers.executor, self.report.listener)
        return made, workers.number

    def _result(self, store: Store, made: ShardsMade, num_workers: int, run: str | None) -> PreprocessResult:
        if made.tally.pending:
            self.report.warn(pending_sentence(made.tally.pending))
        used = _used(store, self.read.report, made) if self.run.partition == WHOLE else {}
        for split, one in used.items():
            if one.num_clips < one.num_expected:
                self.report.warn(f"{split} has clips of {one.num_clips:,} of {plural(one.num_expected, 'video')}")
        plan = made.plan
        # It reads all commit records, which a run that made nothing does not repeat.
        if self.run.partition == WHOLE and plan.pending:
            phase = Phase("records", len(store.all_shards()), self.report.listener)
            for shared in shared_videos(store, phase.done):
                self.report.warn(f"{sharing(shared)}: a model that is trained on one has seen the other")
        return PreprocessResult(
            store=store.place,
            videos_root=self.read.dataset.root,
            splits=store.manifest.splits,
            tally=made.tally,
            num_shards=plan.num_shards,
            num_shards_made=len(plan.pending),
            # Less those whose decoding the machine stopped, which are pending still.
            num_videos_made=plan.num_videos_pending - len(made.tally.pending),
            num_frames_made=made.num_frames,
            num_source_bytes=made.num_source_bytes,
            num_workers=num_workers,
            seconds=self.clock.seconds,
            dataset=self.read.report,
            mask_name=self.options.mask_name,
            masks=summarise_masks(store, self.options.mask_name, self.run.partition, self.report.listener),
            used=used,
            partition=self.run.partition,
            run=run,
            warnings=self.report.warnings,
        )


def _growth(growth: Growth) -> Iterator[str]:
    if growth.num_new_videos:
        added = ", ".join(f"{number:,} to {split!r}" for split, number in growth.new_videos.items())
        yield f"the store grows: {plural(growth.num_new_videos, 'new video')} ({added})"
    if growth.num_moved:
        yield f"{plural(growth.num_moved, 'video')} of the store have new paths"
    if growth.num_captioned:
        yield f"captions are added to {plural(growth.num_captioned, 'video')} of the store that had none"
    if growth.num_recaptioned:
        yield f"{plural(growth.num_recaptioned, 'video')} of the store have new captions"


def _used(store: Store, report: DatasetReport, made: ShardsMade) -> dict[str, Used]:
    """What can be used of each split, now that the videos are decoded."""
    empty = Counter(one.split for one in (*made.tally.failures, *made.tally.pending))
    num_videos = {split: layout.num_videos for split, layout in store.manifest.splits.items()}
    return {
        one.split: Used(
            num_clips=num_videos.get(one.split, 0) - empty[one.split],
            num_expected=one.num_videos if one.expected_videos is None else one.expected_videos,
        )
        for one in report.splits
    }
