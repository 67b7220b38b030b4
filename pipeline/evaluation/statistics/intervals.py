"""Confidence intervals of retrieval metrics, over videos.

R@k is a share of the queries. Its interval is Wilson's (1927), with as many queries as would vary as much if they were
independent (Dean and Pagano 2015): it stays honest near 0% and 100%, where resamples hardly differ.

The interval of a median or mean rank is the percentile interval of a bootstrap (Efron and Tibshirani 1993, section
13.3): the quantiles `(1 - level) / 2` and `(1 + level) / 2` of the metric over resamples of the videos.

Both are about the choice of queries. The candidates stay the
same: a video drawn twice is two queries but one candidate, and a video not drawn is still a candidate. So the interval
does not cover a gallery of another size, nor another training run. docs/comparing.md has the formulae.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.names import METRICS
from pipeline.evaluation.options import BootstrapOptions
from pipeline.evaluation.protocols import Protocol
from pipeline.evaluation.ranking import Ranking
from pipeline.evaluation.statistics.resampling import RanksByVideo, queries_of, resample
from pipeline.run.events import Listener, ignore_events
from store.json_values import JSON

SHARES = ("r1", "r5", "r10", "r50")
"""The metrics that are shares of the queries."""
ROUNDING = 1e-20
"""A variance below this is zero but for rounding: one query among 10^9 gives more."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A confidence interval, in the unit of its metric."""

    low: float
    high: float
    level: float
    """The confidence, in (0, 1)."""

    def to_dict(self) -> dict[str, JSON]:
        """The fields as JSON: the same wherever an interval is reported."""
        return asdict(self)


def intervals(
    ranking: Ranking,
    protocol: Protocol,
    options: BootstrapOptions | None = None,
    listener: Listener = ignore_events,
) -> Mapping[str, Mapping[str, Interval]]:
    """Confidence intervals of all metrics.

    Args:
        ranking: A ranked feature set.
        protocol: How ranks are counted. With `Ties.EACH`, all ranks of a query are drawn with its video.
        options: Level, resamples and random seed; by default 95% and 2,000 resamples.
        listener: Hears how far it is.

    Returns:
        Direction (`text_to_video`, `video_to_text`) -> metric (`METRICS`: fields of `RetrievalMetrics`) -> interval;
        R@k in percent.

    Raises:
        ValueError: Fewer than two videos have captions.
    """
    options = options or BootstrapOptions()
    queries = queries_of(ranking, protocol)
    samples = [RanksByVideo.of(one) for one in queries.values()]
    resampled = resample(samples, options.num_resamples, options.seed, listener)
    return {
        direction: metric_intervals(sample, drawn, options.level)
        for direction, sample, drawn in zip(queries, samples, resampled, strict=True)
    }


def metric_intervals(sample: RanksByVideo, resampled: NDArray[np.float64], level: float) -> Mapping[str, Interval]:
    """Metric -> interval: of shares for R@k, percentiles for the rest; resamples as for `percentiles`."""
    shares = dict(zip(SHARES, share_intervals(sample, level), strict=True))
    return {**percentiles(resampled, level), **shares}


def share_intervals(sample: RanksByVideo, level: float) -> tuple[Interval, ...]:
    """The intervals of R@k, in percent, one for each of `SHARES`.

    Raises:
        ValueError: There are fewer than two videos.
    """
    shares, variances = sample.shares()
    return tuple(
        _wilson(share, _num_effective(share, variance, sample), sample.num_videos, level)
        for share, variance in zip(shares.tolist(), variances.tolist(), strict=True)
    )


def _num_effective(share: float, variance: float, sample: RanksByVideo) -> float:
    """How many independent queries would vary as much: at least one, at most all.

    Where all videos are alike, above all where nothing or everything was found, the sample says nothing of how captions
    of one video depend on each other. Then each video counts as one query.
    """
    if variance < ROUNDING:
        return sample.num_videos
    return min(max(share * (1 - share) / variance, 1.0), len(sample.ranks))


def _wilson(share: float, num_queries: float, num_videos: int, level: float) -> Interval:
    """Wilson's score interval of a share, in percent.

    The quantile is Student's, because the variance is estimated from few videos.

    >>> none = _wilson(0.0, 18, 10**9, 0.95)
    >>> none.low, round(none.high, 2)
    (0.0, 17.59)
    """
    from scipy.special import stdtrit  # half a second, for those who want intervals

    squared = float(stdtrit(num_videos - 1, (1 + level) / 2)) ** 2
    middle = share + squared / (2 * num_queries)
    half = math.sqrt(squared * (share * (1 - share) / num_queries + squared / (4 * num_queries**2)))
    low, high = ((middle + side * half) / (1 + squared / num_queries) for side in (-1, 1))
    # Both contain the share but for the last bits.
    return Interval(round(100 * max(0.0, min(low, share)), 12), round(100 * min(1.0, max(high, share)), 12), level)


def percentiles(resampled: NDArray[np.float64], level: float) -> Mapping[str, Interval]:
    """Metric -> interval, from resamples in rows, shape (num_resamples, len(METRICS)).

    >>> percentiles(np.tile(np.arange(101.0)[:, None], 6), 0.9)["r1"]
    Interval(low=5.0, high=95.0, level=0.9)
    """
    low, high = (
        np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2], axis=0).round(12) + 0.0
    )  # + 0.0 makes 0 of -0
    ends = zip(METRICS, low.tolist(), high.tolist(), strict=True)
    return {name: Interval(lowest, highest, level) for name, lowest, highest in ends}
