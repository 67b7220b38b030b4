"""The end of a job: whether everything stands, what failed, and no leftovers."""

from __future__ import annotations

from dataclasses import dataclass

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
    """What a store holds at the end of a job."""

    tally: Tally
    """Of all videos whose frames stand."""
    num_shards: int
    """Of frames."""
    pending: tuple[PendingStage, ...]
    """Nothing where the job is done."""


def finalise(store: Store) -> Finalised:
    """Look whether every shard of every stage stands, and where all frames do, write the table of failures.

    This is what a job of many partitions wants at its end; a run without partitions has done it already. It can be
    called as often as one likes.
    """
    tallies: list[Tally] = []
    pending: list[PendingStage] = []
    num_shards = 0
    for split in store.manifest.splits:
        for stage, shards in stages_of(store, split):
            is_frames = stage == FRAMES_STAGE
            num_shards += len(shards) if is_frames else 0
            missing = []
            for shard, (record,) in committed_of_each(store, shards, [stage], num_with_outcomes=int(is_frames)):
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
    """Write what is known once all frames stand, and remove what was kept aside until then."""
    remove_withdrawn(store)
    write_failures(store.folder, tally.failures, store.manifest.splits)
