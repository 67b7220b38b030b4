"""What is pending of a mask set, made and recorded, whether masks are computed or imported."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from pipeline.masks.mask_sets import make_shards, plan_masks, summarise_masks
from pipeline.masks.overlap import MaskOverlap
from pipeline.masks.summary import SplitMasks
from pipeline.run.events import Reporter, Tell
from pipeline.run.options import RunOptions
from pipeline.run.plan import Plan
from pipeline.run.records import RunClock
from pipeline.run.resources import WorkerMemory
from pipeline.run.words import plural
from pipeline.run.writing import Job, recorded
from pipeline.workers.place import Workload, workers_by_default, workers_for
from pipeline.workers.preflight import Preflight
from store.json_values import JSON
from store.schema import Shard
from store.store import Store

Task = TypeVar("Task")

BYTES_A_SECOND = 60e6
"""Of stored frames: 30 ms for a clip of 12 frames of 224 pixels. The kinds of masks take 3 to 62 ms (docs/masks.md),
reading and writing 10."""


@dataclass(frozen=True, slots=True)
class MasksResult:
    """How a run of `make_masks` or `import_masks` ended."""

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
    overlaps: tuple[MaskOverlap, ...] | None = None
    """How well the masks of each split cover those of another set; None if they were not compared."""

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
        if self.overlaps is not None:
            found["overlaps"] = [one.to_dict() for one in self.overlaps]
        return found if self.run is None else {**found, "run": self.run}


@dataclass(frozen=True, slots=True)
class MaskRun:
    """A run that makes what is pending of a mask set."""

    store: Store
    """Claimed; it has the arrays of the mask set."""
    name: str
    """Of the mask set."""
    job: Job
    run: RunOptions
    clock: RunClock
    report: Reporter

    def make(self, make_shard: Callable[[Task, Tell], Shard], task_of: Callable[[Shard], Task]) -> MasksResult:
        """Make the pending shards of the run's partition, and write the run record.

        Args:
            make_shard: Makes and commits one shard.
            task_of: What it needs for a shard.
        """
        store, run, report = self.store, self.run, self.report
        with recorded(store.folder, self.job, self.clock) as record:
            plan = plan_masks(store, self.name, run.partition, report.hear)
            if not plan.pending:
                report.say(f"nothing to do: {plural(plan.num_shards, 'shard')}, all complete")
            work = Workload(
                num_shards=len(plan.pending),
                memory=mask_memory(store),
                preflight=partial(Preflight.of, store.folder),
                alone="in this process",
                remedy="a store with a smaller --shard-size makes them smaller",
            )
            default = workers_by_default(len(plan.pending), _seconds_to_make(store, plan))
            with workers_for(run, work, report, default=default) as workers:
                make_shards(make_shard, task_of, plan, workers.executor, report.hear)
            # A run that finds all there leaves no record.
            record.is_recorded = bool(plan.pending)
            result = MasksResult(
                store=store.place,
                masks=self.name,
                splits=summarise_masks(store, self.name, run.partition, report.hear),
                num_shards=plan.num_shards,
                num_shards_made=len(plan.pending),
                num_videos_made=plan.num_videos_pending,
                num_workers=workers.number,
                seconds=self.clock.seconds,
                run=record.name if record.is_recorded else None,
                warnings=report.warnings,
            )
            record.result = result.to_dict()
        return result


def _seconds_to_make(store: Store, plan: Plan) -> float:
    """About what the masks of a plan take one core."""
    num_bytes = 0
    for pending in plan.pending:
        layout = store.layout(pending.shard.split)
        num_bytes += pending.shard.num_rows * layout.num_frames * layout.height * layout.width * 3
    return num_bytes / BYTES_A_SECOND


def mask_memory(store: Store) -> WorkerMemory:
    """What one worker needs that makes masks of a store."""
    layouts = store.manifest.splits.values()
    return WorkerMemory(
        shard_size=store.manifest.shard_size,
        num_frames=max(layout.num_frames for layout in layouts),
        image_size=max(layout.height for layout in layouts),
        decoder_memory_mib=0,  # nothing is decoded
    )
