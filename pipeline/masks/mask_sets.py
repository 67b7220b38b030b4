"""Stored frames -> a mask set, without decoding: plan the shards that are pending, make each in one task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TypeVar

from pipeline.masks.content_cuts import check_cuts
from pipeline.masks.options import Difference, MaskOptions, MaskSet
from pipeline.masks.shard import make_masks
from pipeline.masks.stored import check_origin
from pipeline.masks.summary import MaskCounts, SplitMasks
from pipeline.run.events import ItemsDone, Listener, Phase, RunPlanned, Tell, ignore_events
from pipeline.run.partition import WHOLE, Partition
from pipeline.run.plan import Plan, make_plan
from pipeline.run.software import FRAME_SOFTWARE, software_versions
from pipeline.run.threads import one_cv2_thread
from pipeline.workers.executors import Executor, run_synchronously
from store.clips.mask_sets import mask_set_files, mask_set_names
from store.clips.shards import create_mask_arrays, read_frames
from store.completion import committed_of_each, outcomes_of, require_committed, require_committed_of_each
from store.errors import NotInStoreError
from store.json_values import JSON
from store.own_files import remove_own
from store.places.folder import StoreFolder
from store.schema import Shard
from store.stages import FRAMES_STAGE, masks_stage
from store.store import Store

Task = TypeVar("Task")


@dataclass(frozen=True, slots=True)
class MaskTask:
    """One shard to make: a worker reads its frames straight from the store."""

    folder: StoreFolder
    """The store."""
    shard: Shard
    name: str
    """Of the mask set."""
    options: MaskOptions

    def __str__(self) -> str:
        return f"masks {self.name!r} of shard {self.shard.key}"


def create_mask_set(store: Store, name: str, options: MaskOptions, *, overwrite: bool = False) -> None:
    """Make the arrays of a mask set, having checked that the store can give it.

    Args:
        store: Its frames are complete.
        name: Of the mask set.
        options: What makes a mask.
        overwrite: Whether to remove a mask set of this name first.

    Raises:
        ShardIncompleteError: Some shard has no frames, or has lost them.
        NotInStoreError: `difference="consecutive"`, and the store keeps no neighbours.
        OptionError: Every mask would be empty.
        InputError: `cuts="content"`, and scenedetect is not installed.
        StoreMismatchError: A mask set of this name was made with other options, and the message names both values; or
            it was imported.
    """
    check_neighbours(store, options)
    check_cuts(options)
    for layout in store.manifest.splits.values():
        options.check_picture(layout.height, layout.width)
    for _ in require_committed_of_each(store, store.all_shards(), [FRAMES_STAGE]):
        pass  # raises if the frames of a shard are not complete
    if overwrite:
        remove_own(store.folder, mask_set_files(store, name))
    check_origin(store, name, is_imported=False)
    made_by: dict[str, JSON] = {"software": dict(software_versions(FRAME_SOFTWARE))}
    create_mask_arrays(store, name, {**made_by, "options": options.identity()}, soft=options.soft)


def check_neighbours(store: Store, options: MaskOptions) -> None:
    """Refuse options that need the neighbours of frames where the store keeps none.

    Raises:
        NotInStoreError: It is so.
    """
    if options.difference == Difference.CONSECUTIVE and not store.manifest.neighbours:
        raise NotInStoreError(
            f"difference 'consecutive' compares each frame with the next one of its video, and {store.place} "
            "keeps none: make a store with `fda preprocess --neighbours`, or use difference 'sampled'"
        )


def plan_masks(store: Store, name: str, partition: Partition = WHOLE, listener: Listener = ignore_events) -> Plan:
    """Which shards of a mask set are pending."""
    return make_plan(store, partition.take(store.all_shards()), [masks_stage(name)], listener=listener)


def make_shards(
    make_shard: Callable[[Task, Tell], Shard],
    task_of: Callable[[Shard], Task],
    plan: Plan,
    executor: Executor = run_synchronously,
    listener: Listener = ignore_events,
) -> None:
    """Run a plan of shards of masks, whatever makes them: `make_shard`, of what `task_of` gives for each shard."""
    listener(RunPlanned("videos", plan.complete.num_videos + plan.num_videos_pending, plan.complete.num_videos))
    tasks = (task_of(pending.shard) for pending in plan.pending)
    with closing(executor(make_shard, tasks, listener)) as reports:
        for _ in reports:
            pass


@one_cv2_thread()
def mask_shard(task: MaskTask, tell: Tell) -> Shard:
    """Make one shard's masks. The only writer of their file; running it twice writes the same bytes."""
    store, shard = Store.open(task.folder), task.shard
    require_committed(store, shard, FRAMES_STAGE)
    clips = read_frames(store, shard)  # before the outcomes: if these are of newer frames, the masks are known as old
    made = make_masks(store, shard, MaskSet(task.name, task.options), clips, outcomes_of(store, shard))
    tell(ItemsDone(shard.num_rows, sum(not outcome.filled for outcome in made.outcomes)))
    return shard


def summarise_masks(
    store: Store, name: str, partition: Partition = WHOLE, listener: Listener = ignore_events
) -> tuple[SplitMasks, ...]:
    """What the commit records of a partition of a mask set say, split by split; pending shards are left out.

    Raises:
        NotInStoreError: There is no such mask set.
    """
    if name not in mask_set_names(store):
        there = ", ".join(map(repr, mask_set_names(store))) or "none"
        raise NotInStoreError(f"no masks {name!r} in {store.place}: there are {there}")
    shards = partition.take(store.all_shards())
    phase = Phase("records", len(shards), listener)
    return tuple(
        _summarise(store, name, split, [shard for shard in shards if shard.split == split], phase)
        for split in store.manifest.splits
    )


def _summarise(store: Store, name: str, split: str, shards: Sequence[Shard], phase: Phase) -> SplitMasks:
    counts = MaskCounts()
    found = committed_of_each(store, shards, [masks_stage(name)])  # some shards are in memory at a time
    for _, (record,) in phase.each(found):
        counts.add(() if record is None else record.outcomes)
    return counts.summary(split)
