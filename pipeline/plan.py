"""The plan of a run: which shards are owed. Data, made from the store alone, the same for every executor."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from store.commits import CommitRecord, VideoOutcome, committed
from store.schema import Shard
from store.store import Store


@dataclass(frozen=True, slots=True)
class Tally:
    """How the videos of a run ended, in numbers, and each one that gave no clip."""

    num_videos: int = 0
    failures: tuple[VideoOutcome, ...] = ()
    """The videos whose slots are empty."""
    num_truncated: int = 0
    """Videos that are cut off, and still gave all their frames."""

    @classmethod
    def of(cls, outcomes: Iterable[VideoOutcome]) -> Tally:
        """Count outcomes."""
        everything = tuple(outcomes)
        return cls(
            num_videos=len(everything),
            failures=tuple(outcome for outcome in everything if not outcome.filled),
            num_truncated=sum(outcome.filled and outcome.status != "ok" for outcome in everything),
        )

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.num_videos + other.num_videos,
            self.failures + other.failures,
            self.num_truncated + other.num_truncated,
        )


@dataclass(frozen=True, slots=True)
class OwedShard:
    """One shard, and the stages that have yet to make their part of it, in order."""

    shard: Shard
    stages: tuple[str, ...]
    only_failed: bool = False
    """Whether the videos that gave a clip keep it, and only the others are tried again."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run has to do, and how what stands already ended."""

    owed: tuple[OwedShard, ...]
    num_shards: int
    """Shards in all, owed or not."""
    standing: Tally
    """The videos of the shards that are not owed."""

    @property
    def num_videos_owed(self) -> int:
        """Videos in the shards that are owed."""
        return sum(owed.shard.num_rows for owed in self.owed)


def make_plan(store: Store, shards: Sequence[Shard], stages: Sequence[str], *, retry_failed: bool = False) -> Plan:
    """Find the shards that some stage still owes.

    Args:
        store: The store; read, not written.
        shards: Those of the run.
        stages: In the order in which they build upon each other; the first one's records hold the outcomes.
        retry_failed: Whether a shard with a video that failed is owed again, for the sake of that video.
    """
    owed: list[OwedShard] = []
    standing: list[CommitRecord] = []
    for shard in shards:
        records = {stage: committed(store.folder, shard, stage) for stage in stages}
        first = records[stages[0]]
        if retry_failed and first is not None and not all(outcome.filled for outcome in first.outcomes):
            owed.append(OwedShard(shard, tuple(stages), only_failed=True))
            continue
        num_standing = next((number for number, stage in enumerate(stages) if records[stage] is None), len(stages))
        if num_standing < len(stages):  # and all that builds upon the first that is owed
            owed.append(OwedShard(shard, tuple(stages[num_standing:])))
        elif first is not None:
            standing.append(first)
    outcomes = (outcome for record in standing for outcome in record.outcomes)
    return Plan(tuple(owed), len(shards), Tally.of(outcomes))
