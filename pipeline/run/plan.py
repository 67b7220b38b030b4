"""The plan of a run: which shards are pending. Plain data, read from the store, the same for every executor."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from pipeline.run.events import Listener, Phase, ignore_events
from pipeline.run.words import plural
from store.commits import CommitRecord, VideoOutcome
from store.completion import committed_of_each, kept_record
from store.failures import FailedVideo
from store.schema import Shard, VideoStatus
from store.stages import FRAMES_STAGE
from store.store import Store


@dataclass(frozen=True, slots=True)
class NotedClip:
    """A clip of which something is to be known, such as which of several video streams it is."""

    video_id: str
    note: str
    """One line."""


@dataclass(frozen=True, slots=True)
class Tally:
    """How the videos of a run ended: counts, every video that failed, and every clip with a note."""

    num_videos: int = 0
    failures: tuple[FailedVideo, ...] = ()
    """The videos that failed: their slots are empty."""
    num_truncated: int = 0
    """Videos whose file is cut off, but after all frames that were needed."""
    noted: tuple[NotedClip, ...] = ()
    pending: tuple[FailedVideo, ...] = ()
    """The videos whose decoding the machine stopped, with the reason: the next run decodes them again."""

    @property
    def num_clips(self) -> int:
        """Videos that have a clip."""
        return self.num_videos - len(self.failures) - len(self.pending)

    @classmethod
    def of(cls, split: str, outcomes: Iterable[VideoOutcome]) -> Self:
        """Count the outcomes of videos of one split."""
        videos = tuple(outcomes)
        empty = [FailedVideo.of(split, outcome) for outcome in videos if not outcome.filled]
        return cls(
            num_videos=len(videos),
            failures=tuple(one for one in empty if one.status is not VideoStatus.PENDING),
            num_truncated=sum(outcome.filled and outcome.status != "ok" for outcome in videos),
            noted=tuple(NotedClip(one.video_id, one.reason) for one in videos if one.filled and one.reason),
            pending=tuple(one for one in empty if one.status is VideoStatus.PENDING),
        )

    @classmethod
    def sum(cls, tallies: Iterable[Tally]) -> Self:
        """Add up many. They are drawn one by one, and only videos without a clip and notes are kept."""
        num_videos = num_truncated = 0
        failures: list[FailedVideo] = []
        noted: list[NotedClip] = []
        pending: list[FailedVideo] = []
        for tally in tallies:
            num_videos += tally.num_videos
            num_truncated += tally.num_truncated
            failures += tally.failures
            noted += tally.noted
            pending += tally.pending
        return cls(num_videos, tuple(failures), num_truncated, tuple(noted), tuple(pending))


def pending_sentence(videos: Sequence[FailedVideo]) -> str:
    """What to know about videos that the machine does not let us decode."""
    return (
        f"{plural(len(videos), 'video')} still pending, the first is {videos[0].video_id!r}: {videos[0].reason}, when "
        "nothing else was decoded. Their shards are not committed. Give them more memory and run the same command "
        "again, or record them as failed with a --decoder-memory that the machine has"
    )


@dataclass(frozen=True, slots=True)
class PendingShard:
    """One shard, and its pending stages in order."""

    shard: Shard
    stages: tuple[str, ...]
    kept_rows: tuple[int, ...] = ()
    """Rows of the first stage that are complete and kept; the other rows are made."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run has to do, and the outcomes of what is complete already."""

    pending: tuple[PendingShard, ...]
    num_shards: int
    """All shards of the run, pending or not."""
    complete: Tally
    """The videos of the shards that are not pending."""

    @property
    def num_videos_pending(self) -> int:
        """Videos of the pending shards, without those whose rows are kept."""
        return sum(pending.shard.num_rows - len(pending.kept_rows) for pending in self.pending)


def make_plan(
    store: Store,
    shards: Sequence[Shard],
    stages: Sequence[str],
    *,
    retry_failed: bool = False,
    changed: Mapping[Shard, frozenset[int]] | None = None,
    listener: Listener = ignore_events,
) -> Plan:
    """Find the shards that have a pending stage.

    Args:
        store: The store; only read.
        shards: The shards of the run.
        stages: In order, each made from those before; the first one's records hold the outcomes.
        retry_failed: Whether a shard with a failed video is pending again, to make that video again.
        changed: Shard -> rows whose videos have changed; such a shard is pending again, to make those rows again.
        listener: Hears how far it is.
    """
    pending: list[PendingShard] = []
    complete: list[Tally] = []
    after = [tuple(stages[number:]) for number in range(len(stages))]  # shared by hundreds of thousands of shards
    found = committed_of_each(store, shards, stages, num_with_outcomes=1)
    for shard, records in Phase("records", len(shards), listener).each(found):
        first = records[0]
        redone = (changed or {}).get(shard, frozenset())
        if first is None:
            # Not all rows need to be made again if the shard has grown, or a run was killed while it made it again.
            kept = kept_record(store, shard, stages[0])
            known = _of_these_videos(store, kept)
            pending.append(PendingShard(shard, after[0], _kept_rows(known, redone, retry_failed=retry_failed)))
        # All stages again: masks are made of the frames, whose file is written whole.
        elif redone or (retry_failed and not all(outcome.filled for outcome in first.outcomes)):
            rows = _kept_rows(first.outcomes, redone, retry_failed=retry_failed)
            pending.append(PendingShard(shard, after[0], rows))
        elif None in records:  # the first pending stage, and all stages that are made from it
            pending.append(PendingShard(shard, after[records.index(None)]))
        else:
            complete.append(Tally.of(shard.split, first.outcomes))
    return Plan(tuple(pending), len(shards), Tally.sum(complete))


def _of_these_videos(store: Store, record: CommitRecord | None) -> tuple[VideoOutcome, ...]:
    """The outcomes of a kept record whose rows have the same videos in the catalogue: no other video gets its clips."""
    if record is None or not record.outcomes:
        return ()
    shard = record.shard
    ids = dict(enumerate(store.catalog.video_ids(shard.split, shard.start, shard.stop), shard.start))
    return tuple(outcome for outcome in record.outcomes if ids.get(outcome.row) == outcome.video_id)


def _kept_rows(outcomes: Iterable[VideoOutcome], redone: frozenset[int], *, retry_failed: bool) -> tuple[int, ...]:
    return tuple(
        outcome.row
        for outcome in outcomes
        if outcome.row not in redone
        and outcome.status is not VideoStatus.PENDING
        and (outcome.filled or not retry_failed)
    )


def pending_videos_of(store: Store, shard: Shard) -> tuple[FailedVideo, ...]:
    """The videos of a pending shard of frames whose decoding the machine stopped, with the reason of each."""
    kept = kept_record(store, shard, FRAMES_STAGE)
    return () if kept is None else Tally.of(shard.split, kept.outcomes).pending
