"""The end of a job: check that every shard is complete, list the failed videos, remove leftovers."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.run.events import Listener, Phase, ignore_events
from pipeline.run.plan import Tally
from store.commits import remove_withdrawn
from store.completion import committed_of_each
from store.failures import write_failures
from store.inventory import stages_of
from store.schema import Shard
from store.stages import FRAMES_STAGE
from store.store import Store


@dataclass(frozen=True, slots=True)
class PendingStage:
    """A stage of a split that is not complete."""

    split: str
    stage: str
    num_shards: int
    num_pending: int
    first_pending: Shard


@dataclass(frozen=True, slots=True)
class Finalised:
    """State of a store at the end of a job."""

    tally: Tally
    """Counts of all videos whose frames are committed."""
    num_shards: int
    """Shards of frames."""
    pending: tuple[PendingStage, ...]
    """Stages with pending shards; empty if the job is complete."""


def finalise(store: Store, listener: Listener = ignore_events) -> Finalised:
    """Check whether every shard of every stage is complete; if all frames are, write the table of failures.

    Call it at the end of a job of many partitions; a run without partitions does it itself. It can be called again at
    any time.
    """
    tallies: list[Tally] = []
    pending: list[PendingStage] = []
    num_shards = 0
    stages = [(split, *one) for split in store.manifest.splits for one in stages_of(store, split)]
    phase = Phase("records", sum(len(shards) for *_, shards in stages), listener)
    for split, stage, shards in stages:
        is_frames = stage == FRAMES_STAGE
        num_shards += len(shards) if is_frames else 0
        missing = []
        # Outcomes of frames alone are counted; of other stages it is enough that there is a record.
        found = committed_of_each(store, shards, [stage], num_with_outcomes=int(is_frames))
        for shard, (record,) in phase.each(found):
            if record is None:
                missing.append(shard)
            elif is_frames:
                tallies.append(Tally.of(split, record.outcomes))
        if missing:
            pending.append(PendingStage(split, stage, len(shards), len(missing), missing[0]))
    tally = Tally.sum(tallies)
    if not any(one.stage == FRAMES_STAGE for one in pending):
        close_frames(store, tally)
    return Finalised(tally, num_shards, tuple(pending))


def close_frames(store: Store, tally: Tally) -> None:
    """Write the table of failures, and remove the records that were set aside until all frames were complete."""
    remove_withdrawn(store)
    write_failures(store.folder, tally.failures, store.manifest.splits)
