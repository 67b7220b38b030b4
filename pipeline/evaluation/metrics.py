"""Ranks, by a rule for ties, and the metrics of both directions under a protocol."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.protocols import Protocol, Ties
from pipeline.evaluation.ranking import RankCounts, TextRankCounts


def ranks_of(counts: RankCounts, ties: Ties) -> NDArray[np.float64]:
    """Rank of each query, 1 the best; with `Ties.EACH` there are more ranks than queries.

    >>> tied = RankCounts(np.array([0, 2]), np.array([1, 2]), num_candidates=4)
    >>> [ranks_of(tied, ties).tolist() for ties in Ties]
    [[1.0, 4.0], [1.0, 3.5], [1.0, 3.0], [1.0, 3.0, 4.0]]
    """
    above, level = counts.above.astype(np.float64), counts.level.astype(np.float64)
    match ties:
        case Ties.PESSIMISTIC:
            return above + level
        case Ties.MEAN:
            return above + (level + 1) / 2
        case Ties.OPTIMISTIC:
            return above + 1
        case Ties.EACH:
            # A query with a above and n level has the ranks a + 1 .. a + n: count from 1 within each query.
            starts = np.repeat(np.cumsum(counts.level) - counts.level, counts.level)
            ranks: NDArray[np.float64] = np.repeat(above, counts.level) + np.arange(1, len(starts) + 1) - starts
            return ranks


@dataclass(frozen=True, slots=True)
class RetrievalMetrics:
    """Metrics of one direction of retrieval."""

    num_queries: int
    num_candidates: int
    r1: float
    """Percent of the queries whose rank is at most 1: R@k in video retrieval is Success@k in information retrieval."""
    r5: float
    r10: float
    r50: float
    r100: float
    geometric_mean: float
    """Of R@1, R@5 and R@10, percent."""
    median_rank: float
    mean_rank: float
    ndcg: float | None = None
    """Percent; None unless queries have several relevant items and it was computed."""

    def to_dict(self) -> dict[str, float | None]:
        """The fields as plain numbers, for JSON."""
        return asdict(self)


def metrics_of(
    counts: RankCounts, ties: Ties, *, lower_median: bool = False, rounds_half_down: bool = False
) -> RetrievalMetrics:
    """Metrics of one direction.

    Args:
        counts: Rank counts of all queries.
        ties: Which rank counts if scores tie.
        lower_median: Whether the median of an even number of ranks is the lower of the middle two (`torch.median`)
            rather than their mean.
        rounds_half_down: Whether a mean rank of 5.5 counts for R@5, though one of 1.5 does not for R@1. So it does in
            collaborative-experts, which compares ranks from 0: `4.5 < 5` for R@5, but `0.5 == 0` for R@1.

    >>> metrics_of(RankCounts(np.array([0, 1, 6, 19]), np.ones(4, int), 20), Ties.PESSIMISTIC).median_rank
    4.5
    """
    ranks = ranks_of(counts, ties)
    counted = np.where(ranks > 1.5, np.floor(ranks), ranks) if rounds_half_down else ranks
    r1, r5, r10, r50, r100 = (100.0 * float(np.mean(counted <= k)) for k in (1, 5, 10, 50, 100))
    median = np.sort(ranks)[(len(ranks) - 1) // 2] if lower_median else np.median(ranks)
    return RetrievalMetrics(
        num_queries=len(counts),
        num_candidates=counts.num_candidates,
        r1=r1,
        r5=r5,
        r10=r10,
        r50=r50,
        r100=r100,
        geometric_mean=float((r1 * r5 * r10) ** (1 / 3)),
        median_rank=float(median),
        mean_rank=float(np.mean(ranks)),
    )


@dataclass(frozen=True, slots=True)
class RetrievalResult:
    """Both directions of retrieval under one protocol."""

    text_to_video: RetrievalMetrics
    video_to_text: RetrievalMetrics


def score(to_video: RankCounts, to_text: TextRankCounts, protocol: Protocol) -> RetrievalResult:
    """Metrics of both directions."""
    # By the split, not by the query: CLIP4Clip chooses its function for text to video by the data set.
    several = len(to_video) > len(to_text.videos)
    ndcg = None if to_text.gain is None else 100 * float(np.mean(to_text.gain))
    metrics = text_metrics(among_texts(to_text, protocol), protocol)
    return RetrievalResult(video_metrics(to_video, protocol, several=several), replace(metrics, ndcg=ndcg))


def video_metrics(to_video: RankCounts, protocol: Protocol, *, several: bool) -> RetrievalMetrics:
    """Metrics of text to video; `several` tells whether videos of the split have several captions."""
    return metrics_of(
        to_video,
        (several and protocol.ties_of_several) or protocol.ties,
        lower_median=protocol.lower_median and several,
        rounds_half_down=protocol.rounds_half_down,
    )


def text_metrics(counts: RankCounts, protocol: Protocol) -> RetrievalMetrics:
    """Metrics of video to text, from the result of `among_texts`."""
    return metrics_of(counts, protocol.ties, rounds_half_down=protocol.rounds_half_down)


def among_texts(to_text: TextRankCounts, protocol: Protocol) -> RankCounts:
    """The counts of video to text that a protocol uses."""
    return to_text.single if protocol.by_single_captions else to_text.best
