"""Whether chance gives as much as the difference of two feature sets: a paired permutation test over videos.

The hypothesis is that it makes no difference which of two sets is which: then the two sets' ranks of all queries of a
video could as well change places (Smucker, Allan and Carterette 2007; Fisher's randomisation test). Each permutation
swaps them, for each video with probability one half, and `p = (1 + b) / (1 + n)`, where `b` of `n` permutations give a
difference at least as large in size, either way. What is exchanged is a video, not a caption: captions of one video are
found, or missed, together.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.names import METRICS
from pipeline.evaluation.statistics.resampling import RanksByVideo, block_sizes

_ROUNDING = 1e-9
"""Differences closer than that, in percent or ranks, are the same: sums come in another order."""


def p_values(
    first: Sequence[RanksByVideo], other: Sequence[RanksByVideo], num_permutations: int, seed: int
) -> list[NDArray[np.float64]]:
    """Two-sided p-values of the differences of all metrics.

    Args:
        first: One set, by direction.
        other: The other set, likewise, of the same videos.
        num_permutations: How often videos are swapped, the same ones in all directions.
        seed: Of which.

    Returns:
        One a direction, of shape (len(METRICS),): in (0, 1], a p-value of one metric alone.
    """
    num_videos = first[0].num_videos
    joint = [mine.beside(theirs) for mine, theirs in zip(first, other, strict=True)]
    found = [np.abs(theirs.as_they_are() - mine.as_they_are()) for mine, theirs in zip(first, other, strict=True)]
    at_least = np.zeros((len(joint), len(METRICS)), np.int64)
    rng = np.random.default_rng((seed, 1))
    for count in block_sizes(2 * num_videos, num_permutations):
        swapped = rng.integers(0, 2, (count, num_videos)).astype(np.float64)
        as_first, as_other = np.hstack([1 - swapped, swapped]), np.hstack([swapped, 1 - swapped])
        for number, ranks in enumerate(joint):
            difference = np.abs(ranks.metrics(as_other) - ranks.metrics(as_first))
            at_least[number] += np.sum(difference >= found[number] - _ROUNDING, axis=0)
    return list((1 + at_least) / (1 + num_permutations))
