"""`fda masks`, as one function: another mask set from stored frames, without decoding."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from os import PathLike

from pipeline.masks.mask_sets import create_mask_set, make_mask_set, plan_masks, summarise_masks
from pipeline.masks.options import MaskOptions
from pipeline.masks.summary import SplitMasks
from pipeline.run.events import Listener, Reporter, ignore_events
from pipeline.run.fields import check_kinds
from pipeline.run.machine import num_cores
from pipeline.run.options import HERE, RunOptions
from pipeline.run.overwriting import announce, confirm_stale
from pipeline.run.records import RunClock
from pipeline.run.resources import WorkerMemory
from pipeline.run.software import FRAME_SOFTWARE, software_versions
from pipeline.run.words import plural
from pipeline.run.writing import Job, claim_on, recorded
from pipeline.workers.place import Workload, check_place, executor_for
from pipeline.workers.preflight import Preflight
from store.clips.mask_sets import mask_set_files
from store.inventory import features_from_masks
from store.json_values import JSON
from store.names import check_name
from store.stages import masks_stage
from store.store import Store


@dataclass(frozen=True, slots=True)
class MasksResult:
    """How a run of `make_masks` ended."""

    store: str
    masks: str
    """Name of the mask set."""
    splits: tuple[SplitMasks, ...]
    """What the masks show, before the rules for empty and full masks."""
    num_shards: int
    num_shards_made: int
    """By this run."""
    num_videos_made: int
    num_workers: int
    """0 if the work was done in this process."""
    seconds: float
    run: str | None
    """Name of the run record in the store; None if there was nothing to do."""
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, JSON]:
        """The result as JSON."""
        found: dict[str, JSON] = {
            "store": self.store,
            "masks": self.masks,
            "splits": [split.to_dict() for split in self.splits],
            "num_shards": self.num_shards,
            "num_shards_made": self.num_shards_made,
            "num_videos_made": self.num_videos_made,
            "workers": self.num_workers,
            "seconds": round(self.seconds, 3),
            "videos_per_second": round(self.num_videos_made / self.seconds, 3),
            "warnings": list(self.warnings),
        }
        return found if self.run is None else {**found, "run": self.run}


def make_masks(
    store: str | PathLike[str],
    name: str,
    options: MaskOptions | None = None,
    *,
    run: RunOptions = HERE,
    listener: Listener = ignore_events,
) -> MasksResult:
    """Make a mask set from the frames of a store. Killed and called again, it continues where it was.

    Args:
        store: A folder, or `s3://bucket/prefix`.
        name: Of the mask set.
        options: What makes a mask. Default: the paper's.
        run: Where the work is done.
        listener: Hears how far the run is.

    Raises:
        StoreMismatchError: Masks of this name were made with other options; the message names both values.
        ShardIncompleteError: Some shard has no frames yet.
        NotInStoreError: `difference="consecutive"`, and the store has no neighbours.
        StoreBusyError: Another run writes the same.
        UnconfirmedError: `run.overwrite` would make feature sets out of date, and `run.yes` is not set.
    """
    options, clock, report = options or MaskOptions(), RunClock(), Reporter(listener)
    check_kinds(options=(options, MaskOptions), run=(run, RunOptions))
    check_name("mask set", name)
    opened = Store.open(store)
    memory = _worker_memory(opened)
    check_place(run, memory)
    asked_for = {"name": name, **options.identity(), "software": dict(software_versions(FRAME_SOFTWARE))}
    job = Job("masks", [masks_stage(name)], options.identity(), asked_for)
    with claim_on(opened.folder, job, run, report) as folder:
        claimed = Store.open(folder)
        if run.overwrite:
            confirm_stale(features_from_masks(claimed, [name]), name, report, yes=run.yes)
            announce(mask_set_files(claimed, name), claimed.place, report, yes=run.yes)
        create_mask_set(claimed, name, options, overwrite=run.overwrite)
        with recorded(folder, job, clock) as record:
            plan = plan_masks(claimed, name, run.partition, listener)
            if not plan.pending:
                report.say(f"nothing to do: {plural(plan.num_shards, 'shard')}, all complete")
            work = Workload(
                num_shards=len(plan.pending),
                memory=memory,
                preflight=partial(Preflight.of, folder),
                alone="in this process",
                remedy="a store with a smaller --shard-size makes them smaller",
            )
            with executor_for(run, work, report, default=num_cores()) as (executor, num_workers):
                make_mask_set(claimed, name, options, plan, executor, listener)
            splits = summarise_masks(claimed, name, run.partition, listener)
            record.is_recorded = bool(plan.pending)
            result = MasksResult(
                store=claimed.place,
                masks=name,
                splits=splits,
                num_shards=plan.num_shards,
                num_shards_made=len(plan.pending),
                num_videos_made=plan.num_videos_pending,
                num_workers=num_workers,
                seconds=clock.seconds,
                run=record.name if record.is_recorded else None,
                warnings=report.warnings,
            )
            record.result = result.to_dict()
    return result


def _worker_memory(store: Store) -> WorkerMemory:
    layouts = store.manifest.splits.values()
    return WorkerMemory(
        shard_size=store.manifest.shard_size,
        num_frames=max(layout.num_frames for layout in layouts),
        image_size=max(layout.height for layout in layouts),
        decoder_memory_mib=0,  # nothing is decoded
    )
