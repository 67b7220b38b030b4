"""The plan of a run: which shards are pending. Data, made from the store alone, the same for every executor."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from store.commits import CommitRecord, VideoOutcome
from store.completion import committed_of_each, kept_record
from store.failures import FailedVideo
from store.schema import Shard
from store.store import Store


@dataclass(frozen=True, slots=True)
class Tally:
    """How the videos of a run ended, in numbers, and each one that gave no clip."""

    num_videos: int = 0
    failures: tuple[FailedVideo, ...] = ()
    """The videos whose slots are empty."""
    num_truncated: int = 0
    """Videos that are cut off, and still gave all their frames."""

    @classmethod
    def of(cls, split: str, outcomes: Iterable[VideoOutcome]) -> Self:
        """Count outcomes of a split."""
        everything = tuple(outcomes)
        return cls(
            num_videos=len(everything),
            failures=tuple(FailedVideo.of(split, outcome) for outcome in everything if not outcome.filled),
            num_truncated=sum(outcome.filled and outcome.status != "ok" for outcome in everything),
        )

    @classmethod
    def sum(cls, tallies: Iterable[Tally]) -> Self:
        """Add up many, which are drawn one by one: of each, only the failures are kept."""
        num_videos = num_truncated = 0
        failures: list[FailedVideo] = []
        for tally in tallies:
            num_videos += tally.num_videos
            num_truncated += tally.num_truncated
            failures += tally.failures
        return cls(num_videos, tuple(failures), num_truncated)


@dataclass(frozen=True, slots=True)
class PendingShard:
    """One shard, and the stages that have yet to make their part of it, in order."""

    shard: Shard
    stages: tuple[str, ...]
    kept_rows: tuple[int, ...] = ()
    """Rows of the first stage that stand and are kept; the others are made."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run has to do, and how what stands already ended."""

    pending: tuple[PendingShard, ...]
    num_shards: int
    """Shards in all, pending or not."""
    complete: Tally
    """The videos of the shards that are not pending."""

    @property
    def num_videos_pending(self) -> int:
        """Videos of the shards that are pending, but for those that are kept."""
        return sum(pending.shard.num_rows - len(pending.kept_rows) for pending in self.pending)


def make_plan(
    store: Store,
    shards: Sequence[Shard],
    stages: Sequence[str],
    *,
    retry_failed: bool = False,
    changed: Mapping[Shard, frozenset[int]] | None = None,
) -> Plan:
    """Find the shards that some stage still owes.

    Args:
        store: The store; read, not written.
        shards: Those of the run.
        stages: In the order in which they build upon each other; the first one's records hold the outcomes.
        retry_failed: Whether a shard with a video that failed is pending again, for the sake of that video.
        changed: Shard -> rows whose videos are changed; such a shard is pending again for their sake.
    """
    pending: list[PendingShard] = []
    standing: list[Tally] = []
    for shard, records in committed_of_each(store, shards, stages, num_with_outcomes=1):
        first = records[0]
        redone = (changed or {}).get(shard, frozenset())
        if first is None:
            kept = kept_record(store, shard, stages[0])
            pending.append(PendingShard(shard, tuple(stages), _kept_rows(kept, redone, retry_failed=retry_failed)))
        elif redone or (retry_failed and not all(outcome.filled for outcome in first.outcomes)):
            pending.append(PendingShard(shard, tuple(stages), _kept_rows(first, redone, retry_failed=retry_failed)))
        elif None in records:  # the first stage that is pending, and all that builds upon it
            pending.append(PendingShard(shard, tuple(stages[records.index(None) :])))
        else:
            standing.append(Tally.of(shard.split, first.outcomes))
    return Plan(tuple(pending), len(shards), Tally.sum(standing))


def _kept_rows(record: CommitRecord | None, redone: frozenset[int], *, retry_failed: bool) -> tuple[int, ...]:
    outcomes = () if record is None else record.outcomes
    return tuple(
        outcome.row for outcome in outcomes if outcome.row not in redone and (outcome.filled or not retry_failed)
    )
