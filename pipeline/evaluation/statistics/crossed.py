"""Confidence intervals of numbers that were measured on the same videos with several random seeds of a training.

Two things are samples: the videos, and the seeds. They are crossed, for each seed is scored on all videos. The variance
of the mean of `values[seed, query]` is taken as the sum of two:

- that of the videos' means over all seeds, a quotient of two sums over videos (Cochran 1977, chapter 6), and
- that of the seeds' means over all videos, `s^2 / num_seeds`;

what is due to neither alone is in both, which errs on the safe side. The quantile is Student's, with the degrees of
freedom of such a sum (Satterthwaite 1946): near 2 if three seeds disagree, near the number of videos if they agree.

Why no percentiles of a crossed bootstrap (Owen 2007: draw seeds and videos, each with replacement)? Three seeds are too
few to draw from: where trainings differ, its 95% intervals held the truth in 78 to 84% of simulated experiments with
three seeds and 1,000 videos, and these in 91 to 94%. `tests/pipeline/evaluation/statistics/test_crossed.py` simulates
both.

Where no query differs, or all do, the sample shows no variance at all. So the variance of a paired difference counts
two videos more, of which half a one is better and half a one worse (Agresti and Min 2005, for paired shares); a share
alone has Wilson's interval.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.errors import InputError
from pipeline.evaluation.statistics.intervals import Interval
from store.json_values import JSON

LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over seeds and queries, with its confidence interval, in the unit of the values."""

    value: float
    interval: Interval
    seeds: tuple[float, ...]
    """The mean of each seed alone."""

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval says which sign the number has."""
        return self.interval.low > 0 or self.interval.high < 0

    def to_dict(self) -> dict[str, JSON]:
        """The fields as JSON."""
        return {"value": self.value, "interval": self.interval.to_dict(), "seeds": list(self.seeds)}


def crossed_difference(
    first: ArrayLike, other: ArrayLike, video: ArrayLike | None = None, *, level: float = LEVEL, is_share: bool = True
) -> Estimate:
    """How much higher the mean of `other` is than that of `first`: paired by seed and by query.

    Args:
        first: Shape (num_seeds, num_queries): for R@k, whether each query was found (0 or 1).
        other: Likewise, of the same seeds and queries.
        video: Shape (num_queries,): the video of each, any whole numbers; by default each query has its own.
        level: The confidence, in (0, 1).
        is_share: Whether the values are of 0..1, so that the two further videos of the module's text make sense.

    Raises:
        InputError: Fewer than two seeds or two videos, or shapes that do not fit.

    >>> found = crossed_difference([[1, 0, 0, 0], [1, 0, 0, 0]], [[1, 1, 1, 0], [1, 1, 0, 0]])
    >>> found.value, [round(end, 2) for end in (found.interval.low, found.interval.high)]
    (0.375, [-0.28, 1.0])
    """
    values = np.asarray(other, np.float64) - np.asarray(first, np.float64)
    table = _Table.of(values, video)
    half = _half_width(table, level, pseudo=1.0 if is_share else 0.0)
    ends = (max(-1.0, table.mean - half), min(1.0, table.mean + half)) if is_share else None
    low, high = ends or (table.mean - half, table.mean + half)
    return Estimate(table.mean, Interval(low, high, level), tuple(table.of_seeds.tolist()))


def crossed_share(values: ArrayLike, video: ArrayLike | None = None, *, level: float = LEVEL) -> Estimate:
    """The mean of shares such as R@k: Wilson's interval, with as many queries as would vary as much.

    Arguments and errors as for `crossed_difference`.

    >>> crossed_share([[0] * 9, [0] * 9]).interval.low, crossed_share([[1] * 9, [1] * 9]).interval.high
    (0.0, 1.0)
    """
    table = _Table.of(np.asarray(values, np.float64), video)
    variance, degrees = table.variance(pseudo=0.0)
    share, num_videos = table.mean, len(table.sums)
    spread = share * (1 - share)
    num_effective = num_videos if variance <= 1e-20 else min(max(spread / variance, 1.0), table.num_queries)
    squared = _quantile(level, degrees if variance > 1e-20 else num_videos - 1) ** 2
    # Wilson's interval, not yet divided by 1 + z^2 / n.
    middle = share + squared / (2 * num_effective)
    half = math.sqrt(squared * (spread / num_effective + squared / (4 * num_effective**2)))
    low, high = ((middle + side * half) / (1 + squared / num_effective) for side in (-1, 1))
    interval = Interval(max(0.0, min(low, share)), min(1.0, max(high, share)), level)
    return Estimate(share, interval, tuple(table.of_seeds.tolist()))


def mean_of(values: ArrayLike, *, level: float = LEVEL) -> Estimate:
    """The mean of independent values: one a video which no seed changes, or one a seed over all videos.

    Raises:
        InputError: There are fewer than two.
    """
    array = np.asarray(values, np.float64)
    if array.ndim != 1 or len(array) < 2:
        raise InputError(f"an interval needs at least 2 values, got an array of shape {array.shape}")
    mean = float(array.mean())
    half = _quantile(level, len(array) - 1) * float(array.std(ddof=1)) / math.sqrt(len(array))
    return Estimate(mean, Interval(mean - half, mean + half, level), (mean,))


@dataclass(frozen=True, slots=True)
class _Table:
    """Sums of the queries of each video, for each seed."""

    sums: NDArray[np.float64]
    """Shape (num_videos, num_seeds)."""
    counts: NDArray[np.float64]
    """Shape (num_videos,): queries of each video."""

    @classmethod
    def of(cls, values: NDArray[np.float64], video: ArrayLike | None) -> _Table:
        if values.ndim != 2:
            raise InputError(f"values must have the shape (num_seeds, num_queries), got {values.shape}")
        of_each = np.arange(values.shape[1]) if video is None else np.asarray(video)
        owner = np.unique(of_each, return_inverse=True)[1]
        if len(owner) != values.shape[1]:
            raise InputError(f"{len(owner)} queries have a video, and {values.shape[1]} have values")
        num_videos = int(owner.max()) + 1 if len(owner) else 0
        if num_videos < 2 or len(values) < 2:
            raise InputError(f"an interval needs at least 2 videos and 2 seeds, got {num_videos} and {len(values)}")
        # (num_videos, num_seeds)
        sums = np.column_stack([np.bincount(owner, one, num_videos) for one in values]).astype(np.float64)
        return cls(sums, np.bincount(owner, minlength=num_videos).astype(np.float64))

    @property
    def num_queries(self) -> int:
        return int(self.counts.sum())

    @property
    def of_seeds(self) -> NDArray[np.float64]:
        """The mean of each seed."""
        means: NDArray[np.float64] = self.sums.sum(axis=0) / self.counts.sum()
        return means

    @property
    def mean(self) -> float:
        return float(self.of_seeds.mean())

    def variance(self, pseudo: float) -> tuple[float, float]:
        """The variance of the mean, and its degrees of freedom; `pseudo` pairs of videos are added."""
        num_videos, num_seeds = self.sums.shape[0] + 2 * pseudo, self.sums.shape[1]
        rest = self.sums.mean(axis=1) - self.mean * self.counts
        # Further videos have as many queries as the videos on average. Their halves at +1 and -1 add 1 to the squares.
        squares = (rest**2).sum() + pseudo * self.counts.mean() ** 2
        of_videos = squares / (self.counts.mean() * num_videos) ** 2 * num_videos / (num_videos - 1)
        of_seeds = float(self.of_seeds.var(ddof=1)) / num_seeds
        both = of_videos + of_seeds
        if both <= 0:
            return 0.0, float(num_videos - 1)
        return both, both**2 / (of_videos**2 / (num_videos - 1) + of_seeds**2 / (num_seeds - 1))  # Satterthwaite


def _half_width(table: _Table, level: float, pseudo: float) -> float:
    variance, degrees = table.variance(pseudo)
    return _quantile(level, degrees) * math.sqrt(variance)


def _quantile(level: float, degrees: float) -> float:
    from scipy.special import stdtrit  # half a second, for those who want intervals

    return float(stdtrit(degrees, (1 + level) / 2))
