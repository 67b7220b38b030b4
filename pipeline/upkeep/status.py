"""What is complete and what is pending in a store, from its commit records alone: no frame is read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from pipeline.masks.summary import MaskCounts, SplitMasks
from pipeline.run.events import Listener, Phase, ignore_events
from pipeline.run.plan import Tally, pending_videos_of
from pipeline.run.records import PastRun, read_run
from pipeline.run.words import plural
from store.commits import CommitRecord, commit_name
from store.completion import Pending, committed_of_each, judged_of_each
from store.errors import StoreError, StoreFormatError, StoreMissingError
from store.failures import FailedVideo
from store.features import feature_names, feature_stages, features_made_with, read_alpha_cosines
from store.inventory import stages_of
from store.json_values import JSON
from store.remedies import REBUILD
from store.schema import Shard
from store.stages import FRAMES_STAGE, is_masks_stage
from store.store import Store

NUM_RUNS = 5
"""Run records to show, the latest ones."""


@dataclass(frozen=True, slots=True)
class StageStatus:
    """Progress of one stage of one split."""

    stage: str
    """`frames`, `masks/NAME`, `features/NAME/video` or `features/NAME/text`."""
    num_shards: int
    num_done: int
    """Shards that are complete. The others are pending: not made yet, cut off, or out of date."""
    outcomes: Mapping[str, int]
    """Status -> number of videos in complete shards; empty for a stage over captions."""
    num_filled: int
    """Videos in complete shards that have data."""
    num_truncated: int
    """Videos among these whose file is cut off, and which still gave all their frames."""
    num_bytes: int
    """Size of the files of complete shards."""
    masks: SplitMasks | None
    """Of a mask set: what the masks of complete shards show, before the rules for empty and full masks."""

    @property
    def bytes_per_video(self) -> float | None:
        """Mean size of a video in this stage, in bytes; None if there is no video yet."""
        return self.num_bytes / self.num_filled if self.num_filled else None


@dataclass(frozen=True, slots=True)
class FeatureStatus:
    """One feature set of one split: what made it, and whether it is current."""

    name: str
    num_shards: int
    """Shards of clips and shards of captions."""
    num_current: int
    num_stale: int
    """Shards whose frames, masks or captions have changed since. The rest was never made."""
    alpha_cosine: float | None
    """Mean cosine of videos to themselves encoded with an alpha of all ones; None if it was not measured."""
    made_with: Mapping[str, JSON]

    @property
    def state(self) -> str:
        """`current`, `incomplete`, or `stale: 2 of 5 shards`, with `, 2 not made` where there are such."""
        if self.num_stale:
            num_absent = self.num_shards - self.num_current - self.num_stale
            absent = f", {num_absent:,} not made" if num_absent else ""
            return f"stale: {self.num_stale:,} of {plural(self.num_shards, 'shard')}{absent}"
        return "current" if self.num_current == self.num_shards else "incomplete"


@dataclass(frozen=True, slots=True)
class SplitStatus:
    """Progress of one split."""

    split: str
    num_videos: int
    num_captions: int
    num_frames: int
    stages: tuple[StageStatus, ...]
    features: tuple[FeatureStatus, ...]


@dataclass(frozen=True, slots=True)
class StoreStatus:
    """What is complete and what is pending in a store, with failed videos and the latest runs."""

    splits: tuple[SplitStatus, ...]
    failures: tuple[FailedVideo, ...]
    pending: tuple[FailedVideo, ...]
    """Videos whose decoding the machine stopped, with the reason; the other videos of pending shards are not here."""
    damaged: tuple[str, ...]
    """Commit and run records that cannot be read, one sentence each; such shards count as pending."""
    runs: tuple[PastRun, ...]
    """The latest runs, newest first."""

    @property
    def num_bytes(self) -> int:
        """Size of the files of all complete shards."""
        return sum(stage.num_bytes for split in self.splits for stage in split.stages)


def store_status(store: Store, listener: Listener = ignore_events) -> StoreStatus:
    """Read every commit record of a store; nothing is changed."""
    phase = Phase("records", sum(_num_records(store, split) for split in store.manifest.splits), listener)
    failures: list[FailedVideo] = []
    pending: list[FailedVideo] = []
    damaged: list[str] = []
    splits = []
    for split, layout in store.manifest.splits.items():
        stages = [
            _stage_status(
                stage,
                shards,
                phase.each(judged_of_each(store, shards, [stage])),
                # In other stages a video fails because its frames have: it is not told again.
                failures if stage == FRAMES_STAGE else [],
                damaged,
            )
            for stage, shards in stages_of(store, split)
        ]
        frames = committed_of_each(store, store.shards(split), [FRAMES_STAGE], num_with_outcomes=0)
        for shard, (record,) in phase.each(frames):
            # Of shards that are not complete: videos whose decoding was stopped have a record of their own.
            pending += () if record is not None else pending_videos_of(store, shard)
        names = feature_names(store, split)
        features = tuple(_feature_status(store, name, split, damaged, phase) for name in names)
        counts = layout.num_videos, layout.num_captions, layout.num_frames
        splits.append(SplitStatus(split, *counts, tuple(stages), features))
    runs = tuple(_latest_runs(store, damaged))
    return StoreStatus(tuple(splits), tuple(failures), tuple(pending), tuple(damaged), runs)


def _num_records(store: Store, split: str) -> int:
    """Records that are read of a split: those of frames, and those of features, twice."""
    shards = [(stage, len(its)) for stage, its in stages_of(store, split)]
    return sum(number * (1 if is_masks_stage(stage) else 2) for stage, number in shards)


def _feature_status(store: Store, name: str, split: str, damaged: list[str], phase: Phase) -> FeatureStatus:
    """Whether a feature set is current; what cannot be read of it is added to the list."""
    num_current = num_stale = num_shards = 0
    for stage, shards in feature_stages(store, name, split):
        num_shards += len(shards)
        for shard, (record,) in phase.each(committed_of_each(store, shards, [stage], num_with_outcomes=0)):
            num_current += record is not None
            # A record that exists but does not count: what its shard was made from has changed since.
            num_stale += record is None and store.folder.num_bytes(commit_name(shard, stage)) is not None
    try:
        made_with, cosines = features_made_with(store, name, split), read_alpha_cosines(store, name, split)
    except StoreError as error:
        damaged.append(str(error))
        made_with, cosines = {}, np.empty(0, dtype=np.float32)
    mean = float(cosines.mean()) if len(cosines) else None
    return FeatureStatus(name, num_shards, num_current, num_stale, mean, made_with)


def _stage_status(
    stage: str,
    shards: tuple[Shard, ...],
    judged: Iterable[tuple[Shard, tuple[CommitRecord | Pending, ...]]],
    failures: list[FailedVideo],
    damaged: list[str],
) -> StageStatus:
    """Progress of a stage; its failed videos and damaged records are added to the lists."""
    outcomes: Counter[str] = Counter()
    num_done = num_filled = num_truncated = num_bytes = 0
    masks = MaskCounts() if is_masks_stage(stage) else None
    for shard, (record,) in judged:
        if isinstance(record, Pending):
            damaged += [f"{record.why}: {REBUILD}"] if record.is_damage else []
            continue
        num_done += 1
        num_bytes += sum(written.num_bytes for written in record.files)
        tally = Tally.of(shard.split, record.outcomes)
        num_filled += tally.num_clips
        num_truncated += tally.num_truncated
        outcomes.update(str(outcome.status) for outcome in record.outcomes)
        failures += tally.failures
        if masks is not None:
            masks.add(record.outcomes)
    return StageStatus(
        stage=stage,
        num_shards=len(shards),
        num_done=num_done,
        outcomes=dict(sorted(outcomes.items())),
        num_filled=num_filled,
        num_truncated=num_truncated,
        num_bytes=num_bytes,
        masks=None if masks is None else masks.summary(shards[0].split),
    )


def _latest_runs(store: Store, damaged: list[str]) -> Iterator[PastRun]:
    for name in sorted(store.folder.names("runs"), reverse=True)[:NUM_RUNS]:
        try:
            record = read_run(store.folder, name)
        except (StoreFormatError, StoreMissingError) as error:
            damaged.append(str(error))
        else:
            yield PastRun.of(name, record)
