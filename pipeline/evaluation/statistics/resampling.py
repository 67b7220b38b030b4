"""Ranks by video, and their metrics if each video counts a given number of times.

A data set is a sample of videos: the captions of one video are not independent queries. So a resample draws videos,
with replacement, and takes all queries of a video as often as it was drawn: a cluster bootstrap (docs/comparing.md).
No list of the drawn queries is made. A draw is a row of weights, one for each video:

- R@k and the mean rank are quotients of weighted sums over videos: one matrix product for a block of draws.
- The median is found by counting. Sort the ranks, and give each the weight of its video: the median is the first rank
  at which the running sum of weights reaches one half. A matrix product gives that sum at some dozens of places; only
  the ranks between two of these places are then counted one by one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.evaluation.metrics import among_texts, ranks_of
from pipeline.evaluation.protocols import Protocol, Ties
from pipeline.evaluation.ranking import RankCounts, Ranking
from pipeline.run.events import Listener, Phase, ignore_events

_CUTOFFS = (1, 5, 10, 50)
_NUM_CELLS = 64
"""Places at which the running sum of weights is computed for the median."""
_BLOCK_WEIGHTS = 2**21
"""Weights of a block of draws: 16 MiB of float64, or one draw if that is more."""

Weights = NDArray[np.float64]
"""Shape (num_draws, num_videos): how often each draw contains each video; whole numbers."""


@dataclass(frozen=True, slots=True)
class Queries:
    """The queries of one direction, their videos, and how a protocol counts them."""

    counts: RankCounts
    video: NDArray[np.int64]
    """Shape (num_queries,): the video of each, as an index into the videos that have captions; each has a query."""
    ties: Ties
    lower_median: bool = False
    """See `metrics_of`, like the next."""
    rounds_half_down: bool = False

    def of(self, rows: NDArray[np.int64]) -> Queries:
        """Some of the queries; their videos are renumbered, in the same order."""
        return replace(self, counts=self.counts.of(rows), video=np.unique(self.video[rows], return_inverse=True)[1])


@dataclass(frozen=True)
class RanksByVideo:
    """The ranks of one direction, each with its video."""

    ranks: NDArray[np.float64]
    """Shape (num_ranks,), ascending."""
    video: NDArray[np.int64]
    """Shape (num_ranks,), in [0, num_videos)."""
    num_videos: int
    """Each video has at least one rank."""
    lower_median: bool = False
    """See `metrics_of`, like the next."""
    rounds_half_down: bool = False

    @classmethod
    def of(cls, queries: Queries) -> RanksByVideo:
        """Rank queries; with `Ties.EACH`, every rank of a query belongs to its video."""
        ranks = ranks_of(queries.counts, queries.ties)
        each = queries.ties is Ties.EACH
        video = np.repeat(queries.video, queries.counts.level) if each else queries.video
        order = np.argsort(ranks, kind="stable")
        num_videos = int(video.max()) + 1
        return cls(ranks[order], video[order], num_videos, queries.lower_median, queries.rounds_half_down)

    def beside(self, other: RanksByVideo) -> RanksByVideo:
        """These ranks and others in one, as if the videos of the others were further videos.

        Weights of 1 and 0 then choose for each video the one set or the other: a permutation test swaps sets that way.
        """
        ranks = np.concatenate([self.ranks, other.ranks])
        video = np.concatenate([self.video, other.video + self.num_videos])
        order = np.argsort(ranks, kind="stable")
        num_videos = self.num_videos + other.num_videos
        return RanksByVideo(ranks[order], video[order], num_videos, self.lower_median, self.rounds_half_down)

    def metrics(self, weights: Weights) -> NDArray[np.float64]:
        """Metrics of each draw: shape (num_draws, len(METRICS)), R@k in percent.

        With weights of one they equal those of `metrics_of`.
        """
        sums = weights @ self._sums  # (num_draws, num_videos) @ (num_videos, 6)
        num_ranks = sums[:, -1]
        means = sums[:, :-1] / num_ranks[:, None]
        return np.column_stack([100 * means[:, :-1], self._medians(weights, num_ranks), means[:, -1]])

    def unweighted(self) -> NDArray[np.float64]:
        """Metrics if each video counts once: shape (len(METRICS),)."""
        every: NDArray[np.float64] = self.metrics(np.ones((1, self.num_videos)))[0]
        return every

    def shares(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The share of ranks within each cutoff, 0..1, and its variance over samples of videos: both of shape (4,).

        A share is a quotient of two sums over videos. Its variance is that of a ratio estimator (Cochran 1977,
        chapter 6): captions of one video are not independent, so that videos are what is counted.

        Raises:
            ValueError: There are fewer than two videos.
        """
        if self.num_videos < 2:
            raise InputError(f"an interval needs at least 2 videos with captions, got {self.num_videos}")
        within, num_ranks = self._sums[:, : len(_CUTOFFS)], self._sums[:, -1:]
        shares = within.sum(axis=0) / num_ranks.sum()
        spread = ((within - shares * num_ranks) ** 2).sum(axis=0) / num_ranks.sum() ** 2
        return shares, spread * self.num_videos / (self.num_videos - 1)

    def _medians(self, weights: Weights, num_ranks: NDArray[np.float64]) -> NDArray[np.float64]:
        """The mean of the middle two ranks of each draw, or the lower of them: shape (num_draws,)."""
        ends, up_to = self._cells
        starts = np.concatenate([[0], ends[:-1]])
        # Places of the middle two among n ranks: (n + 1) // 2 and (n + 2) // 2, the same one if n is odd.
        middle = np.column_stack([num_ranks + 1, num_ranks + (1 if self.lower_median else 2)]) // 2  # the first is 1
        counts = weights @ up_to
        cell = _places(counts, middle)
        # Only ranks between the lowest and the highest of these cells are counted one by one.
        first, last = starts[cell.min()], ends[cell.max()]
        if (self.ranks[starts] == self.ranks[ends - 1])[cell].all():
            place = starts[cell]  # all ranks of these cells are equal, so that any place of a cell will do
        else:
            # What lies in the cells before these.
            before = counts[:, [cell.min() - 1]] if first else np.zeros((len(weights), 1))
            place = first + self._counted(weights, slice(first, last), middle - before)
        medians: NDArray[np.float64] = self.ranks[place].mean(axis=1)
        return medians

    def _counted(self, weights: Weights, some: slice, wanted: NDArray[np.float64]) -> NDArray[np.int64]:
        """Index among `some` ranks at which the running sum of weights is `wanted`: both of shape (num_draws, 2)."""
        found = np.empty(wanted.shape, np.int64)
        size = max(1, _BLOCK_WEIGHTS // (some.stop - some.start))
        for rows in (slice(start, start + size) for start in range(0, len(weights), size)):
            counts = np.cumsum(weights[rows][:, self.video[some]], axis=1)
            found[rows] = _places(counts, wanted[rows])
        return found

    @cached_property
    def _sums(self) -> NDArray[np.float64]:
        """For each video, how many ranks are within each cutoff, their sum, and their number: shape (num_videos, 6)."""
        ranks = self.ranks
        counted = np.where(ranks > 1.5, np.floor(ranks), ranks) if self.rounds_half_down else ranks
        columns = [counted <= k for k in _CUTOFFS] + [ranks, np.ones_like(ranks)]
        return np.column_stack([np.bincount(self.video, column, self.num_videos) for column in columns])

    @cached_property
    def _cells(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The sorted ranks, divided into about `_NUM_CELLS` cells; equal ranks are in one cell.

        Returns:
            Where each cell ends, shape (num_cells,); and how many ranks each video has up to there, shape
            (num_videos, num_cells).
        """
        _, starts = np.unique(self.ranks, return_index=True)
        part = starts * _NUM_CELLS // len(self.ranks)
        edges = np.append(starts[1:][part[1:] > part[:-1]], len(self.ranks))
        cell = np.repeat(np.arange(len(edges)), np.diff(edges, prepend=0))
        # A pair of numbers as one, so that a single count gives the table (num_videos, num_cells).
        table = np.bincount(self.video * len(edges) + cell, minlength=self.num_videos * len(edges))
        return edges, np.cumsum(table.reshape(self.num_videos, -1), axis=1).astype(np.float64)


def _places(counts: NDArray[np.float64], wanted: NDArray[np.float64]) -> NDArray[np.int64]:
    """Index at which counts, which grow along each row, reach the numbers wanted for the row.

    >>> _places(np.array([[2.0, 2.0, 5.0]]), np.array([[1.0, 3.0]]))
    array([[0, 2]])
    """
    return np.column_stack([np.sum(counts < column[:, None], axis=1) for column in wanted.T])


def queries_of(ranking: Ranking, protocol: Protocol) -> Mapping[str, Queries]:
    """Direction -> its queries, counted as `pipeline.evaluation.metrics.score` does."""
    to_text = ranking.to_text
    several = len(ranking.to_video) > len(to_text.videos)
    return {
        "text_to_video": Queries(
            counts=ranking.to_video,
            video=np.searchsorted(to_text.videos, ranking.features.truth),
            ties=(several and protocol.ties_of_several) or protocol.ties,
            lower_median=several and protocol.lower_median,
            rounds_half_down=protocol.rounds_half_down,
        ),
        "video_to_text": Queries(
            counts=among_texts(to_text, protocol),
            video=np.arange(len(to_text.videos)),
            ties=protocol.ties,
            rounds_half_down=protocol.rounds_half_down,
        ),
    }


def draws(num_videos: int, num_draws: int, rng: np.random.Generator) -> Iterator[Weights]:
    """Draw as many videos as there are, with replacement, `num_draws` times; yields the weights of some draws at once.

    >>> [weights.sum(axis=1).tolist() for weights in draws(5, 3, np.random.default_rng(0))]
    [[5.0, 5.0, 5.0]]
    """
    for count in block_sizes(num_videos, num_draws):
        # Each draw has numbers of its own, so that one `bincount` counts all draws of the block.
        drawn = rng.integers(0, num_videos, (count, num_videos)) + num_videos * np.arange(count)[:, None]
        yield np.bincount(drawn.ravel(), minlength=drawn.size).reshape(drawn.shape).astype(np.float64)


def block_sizes(num_videos: int, num_draws: int) -> Iterator[int]:
    """Number of draws in each block."""
    size = max(1, _BLOCK_WEIGHTS // num_videos)
    for start in range(0, num_draws, size):
        yield min(size, num_draws - start)


def resample(
    samples: Sequence[RanksByVideo], num_resamples: int, seed: int, listener: Listener = ignore_events
) -> list[NDArray[np.float64]]:
    """Metrics of resamples: each draws the same videos in all samples, which have the same videos.

    Returns:
        For each sample an array of shape (num_resamples, len(METRICS)).

    Raises:
        ValueError: There are fewer than two videos, so that resamples could not differ.
    """
    # All samples have the same videos, in one order: a draw is a row of weights for all of them.
    num_videos = samples[0].num_videos
    if num_videos < 2:
        raise InputError(f"resampling needs at least 2 videos with captions, got {num_videos}")
    phase = Phase("resamples", num_resamples, listener)
    blocks = []
    for weights in draws(num_videos, num_resamples, np.random.default_rng((seed, 0))):
        blocks.append([sample.metrics(weights) for sample in samples])
        phase.done(len(weights))
    return [np.concatenate(parts) for parts in zip(*blocks, strict=True)]
