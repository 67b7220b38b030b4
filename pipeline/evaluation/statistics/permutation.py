"""P-values of the differences of two feature sets: a paired permutation test over videos.

Null hypothesis: the two sets are equally good, so that for any video their ranks of all its queries could be swapped
(Fisher's randomisation test; for retrieval Smucker, Allan and Carterette 2007). Each permutation swaps them for each
video with probability one half. `p = (1 + b) / (1 + n)`, if `b` of `n` permutations give a difference at least as far
from zero as the observed one. Videos are swapped, not captions, because captions of one video are found, or missed,
together: swapped by caption, 27% of pairs of equally good sets differed at p <= 0.05 in R@1; by video, 4.3%
(docs/evaluation.md).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.names import METRICS
from pipeline.evaluation.statistics.resampling import RanksByVideo, block_sizes
from pipeline.run.events import Listener, Phase, ignore_events

_ROUNDING = 1e-9
"""Differences closer than this, in percent or ranks, count as equal, because sums are added in another order."""


def p_values(
    first: Sequence[RanksByVideo],
    other: Sequence[RanksByVideo],
    num_permutations: int,
    seed: int,
    listener: Listener = ignore_events,
) -> list[NDArray[np.float64]]:
    """Two-sided p-values of the differences of all metrics.

    Args:
        first: Ranks in one set, for each direction.
        other: Ranks in the other set, likewise, for the same videos.
        num_permutations: Permutations; each swaps the same videos in all directions.
        seed: Random seed.
        listener: Hears how far it is.

    Returns:
        For each direction an array of shape (len(METRICS),), in (0, 1]: p-values, each of one metric alone.
    """
    num_videos = first[0].num_videos
    joint = [mine.beside(theirs) for mine, theirs in zip(first, other, strict=True)]
    found = [np.abs(theirs.unweighted() - mine.unweighted()) for mine, theirs in zip(first, other, strict=True)]
    at_least = np.zeros((len(joint), len(METRICS)), np.int64)
    rng = np.random.default_rng((seed, 1))  # `resample` uses (seed, 0): the two draw independently
    phase = Phase("permutations", num_permutations, listener)
    for count in block_sizes(2 * num_videos, num_permutations):
        swapped = rng.integers(0, 2, (count, num_videos)).astype(np.float64)
        # (count, 2 * num_videos): weights over the videos of both sets; of each video, one of the two counts.
        as_first, as_other = np.hstack([1 - swapped, swapped]), np.hstack([swapped, 1 - swapped])
        for number, ranks in enumerate(joint):
            difference = np.abs(ranks.metrics(as_other) - ranks.metrics(as_first))
            at_least[number] += np.sum(difference >= found[number] - _ROUNDING, axis=0)
        phase.done(count)
    return list((1 + at_least) / (1 + num_permutations))
