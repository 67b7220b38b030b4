"""Videos that two splits share: by the contents of their files, and nearly, by their features."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from pipeline.evaluation.near_duplicates import NearDuplicate
from pipeline.reporting.page import Section
from pipeline.reporting.scoring import ScoredSplit
from pipeline.reporting.subject import Subject
from pipeline.reporting.thumbnails import Strip
from store.contents import SharedVideos

MOST_PAIRS, MOST_IDS = 10, 5
"""Pairs that are shown, and ids that are named."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A scored video, and one like it in another split."""

    found: NearDuplicate
    strip: Strip
    other: Strip


@dataclass(frozen=True, slots=True)
class SplitDuplicates:
    """Near-duplicates of the videos of one split."""

    split: str
    features: str
    """By which they are found."""
    is_random: bool
    """Whether the model has random weights."""
    num_videos: int
    num_scored: int
    by_split: tuple[tuple[str, int], ...]
    """Other split, and how many videos of this one have one like them there."""
    pairs: tuple[Pair, ...]
    num_more: int
    remarks: tuple[str, ...]
    """Where could not be looked, and why."""


@dataclass(frozen=True, slots=True)
class Duplicates:
    """All splits."""

    equal: tuple[SharedVideos, ...] | None
    """None if they were not looked for."""
    splits: tuple[SplitDuplicates, ...]
    most_ids: int = MOST_IDS


def duplicates_section(subject: Subject) -> Section | None:
    """The section; None in a store with one split."""
    if len(subject.view.splits) < 2:
        return None
    splits = tuple(_near(subject, scored) for scored in subject.scores.splits if scored.sets)
    return Section.of("duplicates", "The same videos in two splits", Duplicates(subject.shared, splits))


def _near(subject: Subject, scored: ScoredSplit) -> SplitDuplicates:
    found, first = scored.duplicates or (), scored.sets[0]
    # A set first: a video that is like several of one other split counts once there.
    videos = Counter(other for other, _ in {(one.other_split, one.video_id) for one in found})
    return SplitDuplicates(
        split=scored.split,
        features=first.name,
        is_random=any("RANDOM" in caveat for caveat in first.caveats),
        num_videos=len({one.video_id for one in found}),
        num_scored=first.num_videos,
        by_split=tuple(videos.most_common(MOST_IDS)),
        pairs=tuple(
            Pair(
                one,
                subject.pictures.of(one.video_id, scored.split),
                subject.pictures.of(one.other_id, one.other_split),
            )
            for one in found[:MOST_PAIRS]
        ),
        num_more=max(0, len(found) - MOST_PAIRS),
        remarks=scored.duplicate_remarks[:MOST_IDS],
    )
