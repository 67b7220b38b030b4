"""`fda preprocess`."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import click

from cli.options.frames import FRAME_OPTIONS, take_frame_fields
from cli.options.masks import MASK_OPTIONS, take_mask_options
from cli.options.shared import (
    max_failed_option,
    num_cores,
    partition_option,
    preset_option,
    shared_options,
    wait_option,
)
from cli.options.source import SourceOptions, source_options
from cli.options.workers import cluster_options
from cli.output.printing import plural, print_json, print_table, say
from cli.output.progress import progress_listener
from cli.writing import exit_by_failures, print_failures
from pipeline.datasets.report import DatasetReport
from pipeline.frames.options import PreprocessOptions
from pipeline.frames.preprocess import (
    PreprocessResult,
    find_changed,
    open_store,
    pending_videos,
    plan_preprocess,
    preprocess,
)
from pipeline.isolation.decoder import IsolatedDecoder
from pipeline.run.partition import WHOLE, Partition
from pipeline.run.records import RunClock, recorded_run
from pipeline.run.resources import DECODER_MEMORY_MIB, WorkerMemory
from pipeline.run.software import FRAME_SOFTWARE, software_versions
from pipeline.run.sources import SourceCheck
from pipeline.run.writing import writing
from pipeline.workers.place import WorkerPlace
from pipeline.workers.preflight import Preflight
from store.claims.holding import ANY_STAGE
from store.growth import Growth
from store.json_values import JSON
from store.places.opening import folder_at
from store.stages import FRAMES_STAGE, masks_stage
from store.store import Store, check_place, remove_store

_DEFAULTS = PreprocessOptions()

_OPTIONS: tuple[Callable[[Callable[..., None]], Callable[..., None]], ...] = (
    *FRAME_OPTIONS,
    click.option("--masks", default=_DEFAULTS.mask_name, show_default=True, metavar="NAME", help="Name of the masks."),
    *MASK_OPTIONS,
)


def preprocess_options(function: Callable[..., None]) -> Callable[..., None]:
    """Add the flags that make up `PreprocessOptions`, and hand them on as that one value."""

    @functools.wraps(function)
    def with_options(
        *,
        masks: str,
        **others: object,
    ) -> None:
        fields, rest = take_frame_fields(others)
        mask_options, rest = take_mask_options(rest)
        function(options=PreprocessOptions(**fields, mask_name=masks, masks=mask_options), **rest)

    for option in reversed(_OPTIONS):
        with_options = option(with_options)
    return with_options


@click.command("preprocess")
@click.argument("source", type=click.Path(exists=True, path_type=Path))
@click.argument("store_place", metavar="STORE", type=click.Path(path_type=str))
@source_options
@preset_option
@preprocess_options
@click.option(
    "--workers",
    type=click.IntRange(min=0),
    help="Worker processes, each with a decoder process; 0 works in this process and its decoder.  "
    "[default: the number of cores, or fewer where memory is short]",
)
@cluster_options
@click.option(
    "--decoder-memory",
    type=click.IntRange(min=64),
    default=DECODER_MEMORY_MIB,
    show_default=True,
    metavar="MIB",
    help="Memory that decoding one video may take; a video that wants more is recorded as unsupported.",
)
@max_failed_option
@click.option("--retry-failed", is_flag=True, help="Decode again the videos that gave no clip, and only them.")
@click.option(
    "--check-videos",
    "check",
    type=click.Choice([str(check) for check in SourceCheck]),
    default=str(SourceCheck.SIZE),
    show_default=True,
    callback=lambda ctx, param, value: SourceCheck(value),
    help="How to find videos that are other files now than when they were decoded; these are decoded again.",
)
@click.option("--update-captions", is_flag=True, help="Take over captions of the store's videos that are changed.")
@partition_option
@wait_option
@click.option("--overwrite", is_flag=True, help="Remove the store first, if there is one.")
@shared_options
def command(
    source: Path,
    store_place: str,
    options: PreprocessOptions,
    how: SourceOptions,
    workers: int | None,
    place: WorkerPlace,
    decoder_memory: int,
    max_failed: Callable[[int], float],
    retry_failed: bool,
    check: SourceCheck,
    update_captions: bool,
    partition: Partition,
    wait: bool,
    overwrite: bool,
    as_json: bool,
    progress: bool | None,
) -> None:
    """Decode the videos of SOURCE once, and keep frames and motion masks in STORE.

    \b
    SOURCE is one of
      jsonl          a file with one line a video: video_id, path, captions, optional split (default: test)
      csv            a file with a header and one row a caption: video_id, path, caption, split
      folder         videos, each with a text file of the same name, one caption a line
      msvd           train_list.txt, val_list.txt, test_list.txt and raw-captions.pkl, or the like
      msrvtt         MSRVTT_data.json, MSRVTT_JSFUSION_test.csv, MSRVTT_train.9k.csv, or the like
      activitynet    train.json, val_1.json: a paragraph a video
      didemo         train_data.json, val_data.json, test_data.json: a paragraph a video
      lsmdc          LSMDC16_annos_training.csv, LSMDC16_challenge_1000_publictect.csv
      vatex          vatex_training_v1.0.json and others, train_list.txt and others
      video2dataset  00000.tar, 00000.parquet, ...: see --extract-to

    What is there is counted against what is published, and what would spoil numbers is said: missing captions and
    files, videos of train in other splits, captions that several videos of a test set have.

    Killed at any moment and started again, the same command goes on where it was. A video that cannot be read is
    recorded with the reason, and its slot stays empty. Where a name begins with `-`, write `./` before it.
    """
    clock = RunClock()
    decoder = IsolatedDecoder(memory_mib=decoder_memory)
    if overwrite and partition != WHOLE:
        raise click.UsageError("--overwrite would remove what the other parts have made: remove the store first")
    memory = _worker_memory(options, decoder_memory)
    place.check(workers, memory)
    read = how.read(source)
    dataset = read.dataset
    made_with = {
        **asdict(options),
        "sampling": options.sampling.to_dict(),
        "source": str(source),
        "dataset": read.recognised.layout,
        "partition": str(partition),
        "software": dict(software_versions(FRAME_SOFTWARE)),
    }
    stages = [ANY_STAGE] if overwrite else [FRAMES_STAGE, masks_stage(options.mask_name)]
    folder = folder_at(store_place)
    check_place(folder)
    inputs: JSON = [dataset.digest(), asdict(options)]
    with writing(folder, "preprocess", stages, partition, inputs, wait=wait) as folder:
        if overwrite:
            remove_store(folder)
        store, growth = open_store(dataset, folder, options, update_captions=update_captions)
        read.say()
        _say_growth(growth)
        changed = find_changed(store, partition.take(store.all_shards()), dataset.root, check)
        if changed:
            say(f"{plural(sum(map(len, changed.values())), 'video')} changed since decoded: decoded again")
        plan = plan_preprocess(store, options, retry_failed=retry_failed, changed=changed, partition=partition)
        preflight = partial(Preflight.of, store.folder, pending_videos(store, plan, dataset.root))
        with recorded_run(folder, "preprocess", clock, made_with) as run, ExitStack() as stack:
            listener = stack.enter_context(progress_listener("preprocess", progress))
            executor, num_workers = stack.enter_context(
                place.executor(
                    num_cores() if workers is None else workers,
                    len(plan.pending),
                    memory,
                    preflight,
                    alone="in this process and its decoder",
                    remedy="--decoder-memory and --shard-size make them smaller",
                )
            )
            result = preprocess(store, dataset.root, plan, options, executor, listener, decoder, check)
            stack.close()
            used = _used(store, read.report, result) if partition == WHOLE else {}
            run.result = summary = {
                **_summary(store, result, clock, num_workers),
                "dataset": read.report.to_dict(),
                "used": {split: asdict(one) for split, one in used.items()},
            }
            run.is_recorded = bool(plan.pending)
    if run.is_recorded:
        summary["run"] = run.name
    if as_json:
        print_json(summary)
    else:
        _print(store, used, result, clock, num_workers, dataset.root)
        if partition != WHOLE:
            say(f"this was part {partition}: `fda finalise {store_place}` says when all parts have ended")
    exit_by_failures(result.tally, max_failed)


def _say_growth(growth: Growth) -> None:
    if growth.num_new_videos:
        added = ", ".join(f"{number:,} to {split!r}" for split, number in growth.new_videos.items())
        say(f"the store grows: {plural(growth.num_new_videos, 'new video')} ({added})")
    if growth.num_moved:
        say(f"{plural(growth.num_moved, 'video')} of the store lie elsewhere now")
    if growth.num_recaptioned:
        say(f"{plural(growth.num_recaptioned, 'video')} of the store have other captions now")


def _worker_memory(options: PreprocessOptions, decoder_memory: int) -> WorkerMemory:
    num_frames = max(options.train_frames, options.eval_frames)
    return WorkerMemory(options.shard_size, num_frames, options.image_size, decoder_memory)


@dataclass(frozen=True, slots=True)
class Used:
    """Of one split: clips that there are, and videos that there should be."""

    num_clips: int
    num_expected: int


def _used(store: Store, report: DatasetReport, result: PreprocessResult) -> dict[str, Used]:
    """What can be used of each split, now that the videos are decoded."""
    failed = Counter(failure.split for failure in result.tally.failures)
    num_videos = {split: layout.num_videos for split, layout in store.manifest.splits.items()}
    return {
        one.split: Used(
            num_clips=num_videos.get(one.split, 0) - failed[one.split],
            num_expected=one.num_videos if one.expected_videos is None else one.expected_videos,
        )
        for one in report.splits
    }


def _summary(store: Store, result: PreprocessResult, clock: RunClock, num_workers: int) -> dict[str, JSON]:
    tally = result.tally
    return {
        "store": store.place,
        "num_videos": tally.num_videos,
        "num_clips": tally.num_videos - len(tally.failures),
        "num_clips_truncated": tally.num_truncated,
        "num_shards": result.plan.num_shards,
        "num_shards_made": len(result.plan.pending),
        "num_videos_made": result.plan.num_videos_pending,
        "num_frames_made": result.num_frames,
        "source_bytes_read": result.num_source_bytes,
        "workers": num_workers,
        "seconds": round(clock.seconds, 3),
        "videos_per_second": round(result.plan.num_videos_pending / clock.seconds, 3),
        "failures": [
            {"video_id": failure.video_id, "status": str(failure.status), "reason": failure.reason}
            for failure in tally.failures
        ],
    }


def _print(
    store: Store,
    used: Mapping[str, Used],
    result: PreprocessResult,
    clock: RunClock,
    num_workers: int,
    root: Path,
) -> None:
    tally, made = result.tally, result.plan.num_videos_pending
    if made:
        rate = made / clock.seconds
        source_mb = result.num_source_bytes / 1e6
        where = f"by {plural(num_workers, 'worker')}" if num_workers else "in this process"
        say(
            f"{plural(made, 'video')} in {clock.seconds:.1f} s {where}: "
            f"{rate:.1f} videos/s, {source_mb / clock.seconds:.1f} MB/s of video"
        )
    else:
        say(f"nothing to do: {plural(result.plan.num_shards, 'shard')}, all done")
    rows = [
        [split, f"{layout.num_videos:,}", f"{layout.num_captions:,}", str(layout.num_frames)]
        for split, layout in store.manifest.splits.items()
    ]
    print_table(store.place, ["split", "videos", "captions", "frames"], rows)
    for split, one in used.items():
        if one.num_clips < one.num_expected:
            say(f"warning: {split} has clips of {one.num_clips:,} of {one.num_expected:,} videos")
    print_failures(tally, root)
