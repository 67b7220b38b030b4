"""Confidence intervals of retrieval metrics: bootstrap over videos.

The interval is the percentile interval (Efron and Tibshirani 1993, section 13.3): the quantiles `(1 - level) / 2` and
`(1 + level) / 2` of a metric over resamples of the videos. It is about the choice of queries. The candidates stay the
same: a video drawn twice is two queries but one candidate, and a video not drawn is still a candidate. So the interval
does not cover a gallery of another size, nor another training run. docs/evaluation.md has the formulae.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.names import METRICS
from pipeline.evaluation.options import BootstrapOptions
from pipeline.evaluation.protocols import Protocol
from pipeline.evaluation.ranking import Ranking
from pipeline.evaluation.statistics.resampling import RanksByVideo, queries_of, resample


@dataclass(frozen=True, slots=True)
class Interval:
    """A confidence interval, in the unit of its metric."""

    low: float
    high: float
    level: float
    """The confidence, in (0, 1)."""


def intervals(
    ranking: Ranking, protocol: Protocol, options: BootstrapOptions | None = None
) -> Mapping[str, Mapping[str, Interval]]:
    """Confidence intervals of all metrics.

    Args:
        ranking: A ranked feature set.
        protocol: How ranks are counted. With `Ties.EACH`, all ranks of a query are drawn with its video.
        options: Level, resamples and random seed; by default 95% and 2,000 resamples.

    Returns:
        Direction (`text_to_video`, `video_to_text`) -> metric (`METRICS`: fields of `RetrievalMetrics`) -> interval;
        R@k in percent.

    Raises:
        ValueError: Fewer than two videos have captions.
    """
    options = options or BootstrapOptions()
    queries = queries_of(ranking, protocol)
    samples = [RanksByVideo.of(one) for one in queries.values()]
    resampled = resample(samples, options.num_resamples, options.seed)
    return {direction: percentiles(drawn, options.level) for direction, drawn in zip(queries, resampled, strict=True)}


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
