"""Intervals over videos and seeds: their coverage by simulation, where nothing differs, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.evaluation.statistics.crossed import crossed_difference, crossed_share, mean_of
from tests.seed import drawn

NUM_TRIALS = 300

Hits = NDArray[np.bool_]


def simulated(
    rng: np.random.Generator, num_seeds: int, num_videos: int, *, of_seeds: float, of_videos: float
) -> tuple[Hits, Hits, float]:
    """Two conditions of equal worth, and one that is better by half a logit.

    Returns:
        Whether each video is found, shape (NUM_TRIALS, num_seeds, num_videos), of the two, and the true difference.
    """
    shape = NUM_TRIALS, num_seeds, num_videos
    videos = rng.normal(0, 1, (NUM_TRIALS, 1, num_videos))
    liking = rng.normal(0, of_videos, (NUM_TRIALS, 1, num_videos))
    lucks = rng.normal(0, of_seeds, (2, NUM_TRIALS, num_seeds, 1))
    first = rng.random(shape) < _share(videos + lucks[0])
    other = rng.random(shape) < _share(videos + 0.5 + liking + lucks[1])
    many = rng.normal(0, 1, (5, 500_000))
    true = _share(many[0] + 0.5 + of_videos * many[1] + of_seeds * many[2]) - _share(many[0] + of_seeds * many[3])
    return first, other, float(true.mean())


def _share(logit: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1 / (1 + np.exp(-logit))


@pytest.mark.parametrize(
    ("num_seeds", "num_videos", "of_seeds", "of_videos"),
    [(3, 24, 0.0, 0.0), (3, 100, 0.0, 1.0), (3, 100, 0.3, 0.0), (3, 400, 0.5, 1.0), (5, 100, 0.5, 0.0)],
)
def test_nineteen_of_twenty_intervals_hold_the_truth(
    num_seeds: int, num_videos: int, of_seeds: float, of_videos: float
) -> None:
    """Whether videos or seeds vary, or both. With 300 trials the share is known to 1.3 points (standard deviation)."""
    rng = np.random.default_rng(drawn("simulated experiments").randint(0, 2**32))
    first, other, true = simulated(rng, num_seeds, num_videos, of_seeds=of_seeds, of_videos=of_videos)
    found = [crossed_difference(*pair).interval for pair in zip(first, other, strict=True)]
    held = np.mean([one.low <= true <= one.high for one in found])
    assert held > 0.87
    shares = [crossed_share(one).interval for one in first]
    many = rng.normal(0, 1, (2, 500_000))
    truth = float(_share(many[0] + of_seeds * many[1]).mean())
    assert np.mean([one.low <= truth <= one.high for one in shares]) > 0.87


def test_percentiles_of_a_crossed_bootstrap_would_not_do() -> None:
    """Why the module does not draw seeds: where trainings differ, three are too few to draw from."""
    rng = np.random.default_rng(0)
    first, other, true = simulated(rng, 3, 400, of_seeds=0.5, of_videos=0.0)
    held = []
    for mine, theirs in zip(first, other, strict=True):
        of_seeds = (theirs.astype(float) - mine).mean(axis=1)  # with 400 videos, nearly all that varies
        drawn_seeds = of_seeds[rng.integers(0, 3, (300, 3))].mean(axis=1)
        low, high = np.quantile(drawn_seeds, [0.025, 0.975])
        held.append(low <= true <= high)
    assert np.mean(held) < 0.87


@given(num_seeds=st.integers(2, 4), num_videos=st.integers(2, 9), seed=st.integers(0, 999))
def test_an_interval_holds_its_value_and_order_does_not_matter(num_seeds: int, num_videos: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    video = np.sort(np.append(np.arange(num_videos), rng.integers(0, num_videos, 5)))
    first, other = rng.random((2, num_seeds, len(video))) < rng.random()
    found = crossed_difference(first, other, video)
    assert -1 <= found.interval.low <= found.value <= found.interval.high <= 1
    assert found.value == pytest.approx(other.mean() - first.mean())
    assert found.seeds == pytest.approx(other.mean(axis=1) - first.mean(axis=1))
    back = crossed_difference(other, first, video)
    assert (back.value, back.interval.low) == pytest.approx((-found.value, -found.interval.high))
    order = rng.permutation(len(video))
    again = crossed_difference(first[:, order], other[:, order], 7 * video[order])
    assert (again.interval.low, again.interval.high) == pytest.approx((found.interval.low, found.interval.high))
    share = crossed_share(first, video)
    assert 0 <= share.interval.low <= share.value <= share.interval.high <= 1


def test_where_nothing_differs_the_interval_is_as_wide_as_so_few_videos_allow() -> None:
    few, many = (crossed_difference(np.ones((3, num)), np.ones((3, num))).interval for num in (10, 1000))
    assert few.low < -0.1 < 0.1 < few.high
    assert -0.01 < many.low < 0 < many.high < 0.01


def test_captions_of_one_video_count_as_one_video() -> None:
    rng = np.random.default_rng(0)
    first, other = rng.random((2, 3, 20)) < 0.5
    alone = crossed_difference(first, other)
    copies = crossed_difference(np.repeat(first, 9, axis=1), np.repeat(other, 9, axis=1), np.repeat(np.arange(20), 9))
    assert copies.interval.low == pytest.approx(alone.interval.low)


@pytest.mark.parametrize("shape", [(3, 1), (1, 3), (3, 0)])
def test_one_seed_or_one_video_gives_no_interval(shape: tuple[int, int]) -> None:
    with pytest.raises(InputError, match="needs at least 2 videos and 2 seeds"):
        crossed_difference(np.zeros(shape), np.zeros(shape))


def test_values_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match="shape"):
        crossed_share([1, 0])
    with pytest.raises(InputError, match="3 queries have a video, and 2 have values"):
        crossed_share([[1, 0], [0, 1]], [0, 1, 2])
    with pytest.raises(InputError, match="at least 2 values"):
        mean_of([1.0])
