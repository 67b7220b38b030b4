"""`fda masks`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import click

from cli.options.masks import MASK_OPTIONS, take_mask_options
from cli.options.shared import num_cores, partition_option, shared_options, wait_option
from cli.options.workers import cluster_options
from cli.output.printing import plural, print_json, print_table, say
from cli.output.progress import progress_listener
from pipeline.masks.mask_sets import SplitMasks, create_mask_set, make_mask_set, plan_masks, summarise_masks
from pipeline.run.partition import WHOLE, Partition
from pipeline.run.plan import Plan
from pipeline.run.records import RunClock, recorded_run
from pipeline.run.resources import WorkerMemory
from pipeline.run.software import FRAME_SOFTWARE, software_versions
from pipeline.run.writing import writing
from pipeline.workers.place import WorkerPlace
from pipeline.workers.preflight import Preflight
from store.json_values import JSON
from store.stages import masks_stage
from store.store import Store


def _mask_options(function: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(MASK_OPTIONS):
        function = option(function)
    return function


@click.command("masks")
@click.argument("store_place", metavar="STORE", type=click.Path(path_type=str))
@click.option("--name", required=True, metavar="NAME", help="Name of the mask set.")
@_mask_options
@click.option(
    "--workers",
    type=click.IntRange(min=0),
    help="Worker processes; 0 works in this process alone.  "
    "[default: the number of cores, or fewer where memory is short]",
)
@cluster_options
@partition_option
@wait_option
@click.option("--overwrite", is_flag=True, help="Remove the mask set of this name first, if there is one.")
@shared_options
def command(
    store_place: str,
    name: str,
    workers: int | None,
    place: WorkerPlace,
    partition: Partition,
    wait: bool,
    overwrite: bool,
    as_json: bool,
    progress: bool | None,
    **flags: Any,
) -> None:
    """Make another mask set from the frames of STORE, without decoding, under a name.

    The paper's masks are the default. Killed and started again, the same command goes on where it was. Masks of the
    same name are never mixed: where the options differ, the command refuses and says what differs. Features that were
    made from a mask set that is rebuilt with other options are refused by `fda encode` then, and its --overwrite
    rebuilds them.

    The table says, for each split and before --when-empty and --when-full: the mean share of the picture that moves,
    the masks that are empty and full, and the videos whose camera moved.
    """
    options, _ = take_mask_options(flags)
    clock = RunClock()
    if overwrite and partition != WHOLE:
        raise click.UsageError("--overwrite would remove what the other parts have made: `fda remove` it first")
    store = Store.open(store_place)
    memory = _worker_memory(store)
    place.check(workers, memory)
    folder = store.folder
    made_with = {"name": name, **options.identity(), "software": dict(software_versions(FRAME_SOFTWARE))}
    with ExitStack() as stack:
        inputs = options.identity()
        folder = stack.enter_context(writing(folder, "masks", [masks_stage(name)], partition, inputs, wait=wait))
        store = Store.open(folder)
        create_mask_set(store, name, options, overwrite=overwrite)
        run = stack.enter_context(recorded_run(folder, "masks", clock, made_with))
        plan = plan_masks(store, name, partition)
        with ExitStack() as working:
            listener = working.enter_context(progress_listener("masks", progress))
            executor, num_workers = working.enter_context(
                place.executor(
                    num_cores() if workers is None else workers,
                    len(plan.pending),
                    memory,
                    partial(Preflight.of, store.folder),
                    alone="in this process",
                    remedy="a store with a smaller --shard-size makes them smaller",
                )
            )
            make_mask_set(store, name, options, plan, executor, listener)
        splits = summarise_masks(store, name, partition)
        summary = _summary(store, name, plan, splits, clock, num_workers)
        run.result, run.is_recorded = summary, bool(plan.pending)
    if run.is_recorded:
        summary["run"] = run.name
    if as_json:
        print_json(summary)
    else:
        _print(name, plan, splits, clock)


def _worker_memory(store: Store) -> WorkerMemory:
    layouts = store.manifest.splits.values()
    return WorkerMemory(
        shard_size=store.manifest.shard_size,
        num_frames=max(layout.num_frames for layout in layouts),
        image_size=max(layout.height for layout in layouts),
        decoder_memory_mib=0,  # nothing is decoded
    )


def _summary(
    store: Store, name: str, plan: Plan, splits: Sequence[SplitMasks], clock: RunClock, num_workers: int
) -> dict[str, JSON]:
    return {
        "store": store.place,
        "masks": name,
        "splits": [split.to_dict() for split in splits],
        "num_shards": plan.num_shards,
        "num_shards_made": len(plan.pending),
        "num_videos_made": plan.num_videos_pending,
        "workers": num_workers,
        "seconds": round(clock.seconds, 3),
        "videos_per_second": round(plan.num_videos_pending / clock.seconds, 3),
    }


def _print(name: str, plan: Plan, splits: Sequence[SplitMasks], clock: RunClock) -> None:
    columns = ["split", "videos with masks", "coverage", "empty", "full", "camera moves"]
    is_compensated = any(split.num_unregistered_pairs is not None for split in splits)
    if is_compensated:
        columns.append("pairs not registered")
    rows = [
        [
            split.split,
            f"{split.num_videos_masked:,} of {split.num_videos:,}",
            _percent(split.mean_coverage),
            _percent(split.empty_share),
            _percent(split.full_share),
            _percent(split.camera_motion_share),
            *([f"{split.num_unregistered_pairs or 0:,}"] if is_compensated else []),
        ]
        for split in splits
    ]
    print_table(f"masks {name}", columns, rows)
    if plan.pending:
        rate = plan.num_videos_pending / clock.seconds
        say(f"{plural(plan.num_videos_pending, 'video')} in {clock.seconds:.1f} s: {rate:.1f} videos/s")
    else:
        say(f"nothing to do: {plural(plan.num_shards, 'shard')}, all done")


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"
