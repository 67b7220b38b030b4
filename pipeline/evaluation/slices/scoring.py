"""Metrics of slices of the queries: each slice is ranked among all candidates of the split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.evaluation.metrics import RetrievalMetrics, among_texts, text_metrics, video_metrics
from pipeline.evaluation.names import DIRECTIONS
from pipeline.evaluation.protocols import Protocol
from pipeline.evaluation.ranking import Ranking
from pipeline.evaluation.slices.families import STATIC, Slice, SliceFamily
from pipeline.evaluation.statistics.intervals import SHARES, Interval, share_intervals
from pipeline.evaluation.statistics.resampling import Queries, RanksByVideo, queries_of
from store.json_values import JSON

FEW_MARK = "*"
"""Beside the number of queries, if they are of fewer videos than the next."""
FEW_VIDEOS = 10
"""A slice whose queries are of fewer videos is marked: one video is then more than 10 points of R@1, however many
captions it has."""


@dataclass(frozen=True, slots=True)
class SliceScore:
    """Metrics of one slice, or of all queries."""

    name: str
    label: str
    text_to_video: RetrievalMetrics | None
    """None if the slice has no caption."""
    video_to_text: RetrievalMetrics | None
    """None if the slice has no video."""
    num_videos: Mapping[str, int]
    """Direction -> videos that its queries are of."""
    intervals: Mapping[str, Mapping[str, Interval]]
    """Direction -> metric, of `SHARES` -> confidence interval; a direction of fewer than two videos is left out."""

    def is_few(self, direction: str) -> bool:
        """Whether the metrics of a direction rest on so few videos that they mean little."""
        return 0 < self.num_videos[direction] < FEW_VIDEOS

    def to_dict(self) -> dict[str, JSON]:
        """The fields as plain values, for JSON; `few` marks a direction with fewer than `FEW_VIDEOS`."""
        return {
            "name": self.name,
            "label": self.label,
            **{direction: self._direction_dict(direction) for direction in DIRECTIONS},
        }

    def _direction_dict(self, direction: str) -> JSON:
        metrics: RetrievalMetrics | None = getattr(self, direction)
        if metrics is None:
            return None
        intervals = {name: one.to_dict() for name, one in self.intervals.get(direction, {}).items()}
        num_videos = self.num_videos[direction]
        return {**metrics.to_dict(), "num_videos": num_videos, "few": self.is_few(direction), "intervals": intervals}


@dataclass(frozen=True, slots=True)
class FamilyScores:
    """Metrics of the slices of one family."""

    name: str
    summary: str
    slices: tuple[SliceScore, ...]

    def to_dict(self) -> dict[str, JSON]:
        """The fields as plain values, for JSON."""
        return {"name": self.name, "summary": self.summary, "slices": [one.to_dict() for one in self.slices]}


@dataclass(frozen=True, slots=True)
class SliceScores:
    """Metrics of all families of slices under one protocol."""

    protocol: str
    all_queries: SliceScore
    families: tuple[FamilyScores, ...]
    static_gap: Mapping[str, float]
    """Direction -> R@1 of static objects minus that of all others, in percentage points. Below zero, static objects are
    found less often. A direction in which one of the two has no query is left out."""

    @property
    def telling(self) -> tuple[FamilyScores, ...]:
        """The families that divide the queries into more than one slice: a table of one slice shows nothing new."""
        return tuple(family for family in self.families if len(family.slices) > 1)

    def to_dict(self) -> dict[str, JSON]:
        """The fields as plain values, for JSON."""
        return {
            "protocol": self.protocol,
            "all_queries": self.all_queries.to_dict(),
            "families": [family.to_dict() for family in self.families],
            "static_gap_r1": dict(self.static_gap),
        }


def score_slices(
    ranking: Ranking, families: Sequence[SliceFamily], protocol: Protocol, level: float = 0.95
) -> SliceScores:
    """Compute metrics of slices.

    Args:
        ranking: The ranked queries.
        families: Families of slices of these queries: see `slice_queries`.
        protocol: How ranks are counted. Whether videos have several captions is decided by the split, not by the slice.
        level: Confidence of the intervals.
    """
    captions, videos = np.arange(len(ranking.to_video)), np.arange(len(ranking.to_text.videos))
    # As a slice, so that its numbers come of the same code as those beside it.
    everything = Slice("all", "all queries", captions, videos)
    queries = queries_of(ranking, protocol)
    scored = tuple(
        FamilyScores(
            family.name,
            family.summary,
            tuple(_score(ranking, protocol, one, queries, level) for one in family.slices),
        )
        for family in families
    )
    return SliceScores(
        protocol=protocol.name,
        all_queries=_score(ranking, protocol, everything, queries, level),
        families=scored,
        static_gap=_static_gap(scored),
    )


def _score(
    ranking: Ranking, protocol: Protocol, some: Slice, queries: Mapping[str, Queries], level: float
) -> SliceScore:
    to_video, to_text = ranking.to_video, among_texts(ranking.to_text, protocol)
    # Of the split, before it is cut to the slice: its tables would not be comparable if a slice had another protocol.
    several = len(to_video) > len(to_text)
    samples = {
        # A slice may have captions and no video: a video is in the slice of most of its captions.
        direction: RanksByVideo.of(queries[direction].of(rows))
        for direction, rows in (("text_to_video", some.captions), ("video_to_text", some.videos))
        if len(rows)
    }
    return SliceScore(
        some.name,
        some.label,
        text_to_video=video_metrics(to_video.of(some.captions), protocol, several=several)
        if len(some.captions)
        else None,
        video_to_text=text_metrics(to_text.of(some.videos), protocol) if len(some.videos) else None,
        num_videos={
            direction: samples[direction].num_videos if direction in samples else 0 for direction in DIRECTIONS
        },
        intervals={
            direction: dict(zip(SHARES, share_intervals(sample, level), strict=True))
            for direction, sample in samples.items()
            if sample.num_videos > 1  # one video shows no variance between videos
        },
    )


def _static_gap(families: Sequence[FamilyScores]) -> dict[str, float]:
    """See `SliceScores.static_gap`."""
    # Empty if this family was not asked for.
    slices = {one.name: one for family in families if family.name == STATIC for one in family.slices}
    gap = {}
    for direction in DIRECTIONS:
        static, rest = (getattr(slices.get(name), direction, None) for name in (STATIC, "rest"))
        if static is not None and rest is not None:
            gap[direction] = static.r1 - rest.r1
    return gap
