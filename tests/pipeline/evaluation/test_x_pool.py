"""Protocol `x-pool` against figures that X-Pool's own code gave.

They were recorded once with `modules/metrics.py` of layer6ai-labs/xpool (21db3af), torch 2.13 on a CPU: the cases of
`tests.retrieval_cases` as tensors of shape (videos, most captions of a video, videos), -inf where a video has fewer
captions, handed to `t2v_metrics` and `v2t_metrics`. Of cases with ties the figures are means over 2,000 random orders
of the videos (`np.random.default_rng(0)`), since there the order decides.
"""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.evaluation import metrics
from pipeline.evaluation.metrics import RetrievalMetrics, RetrievalResult
from pipeline.evaluation.protocols import PROTOCOLS, Ties
from pipeline.evaluation.ranking import text_to_video
from tests.retrieval_cases import Case, recorded_case, recorded_square, video_to_text

X_POOL = PROTOCOLS["x-pool"]


def score(case: Case, protocol: str = "x-pool") -> RetrievalResult:
    return metrics.score(
        text_to_video(case.scores, case.truth), video_to_text(case.scores, case.truth), PROTOCOLS[protocol]
    )


def figures(found: RetrievalMetrics) -> tuple[float, ...]:
    """As X-Pool lists them: R@1, R@5, R@10, R@50, R@100, MedR, MeanR."""
    return found.r1, found.r5, found.r10, found.r50, found.r100, found.median_rank, found.mean_rank


@pytest.mark.parametrize(
    ("seed", "num_videos", "to_video", "to_text"),
    [
        (0, 9, (44.444444, 100, 100, 100, 100, 2.0, 2.277778), (77.777778, 100, 100, 100, 100, 1.0, 1.555556)),
        (
            1,
            14,
            (50.0, 81.578947, 97.368421, 100, 100, 1.5, 3.105263),  # the median of an even number of ranks
            (85.714286, 85.714286, 100, 100, 100, 1.0, 2.285714),
        ),
        (2, 40, (55.555556, 66.666667, 79.79798, 100, 100, 1.0, 5.323232), (82.5, 87.5, 87.5, 100, 100, 1.0, 3.55)),
        (
            5,
            130,
            (50.621118, 52.484472, 54.658385, 89.440994, 100, 1.0, 17.440994),
            (79.230769, 79.230769, 80.769231, 89.230769, 100, 1.0, 11.676923),
        ),
    ],
)
def test_without_ties_all_figures_are_its_own(
    seed: int, num_videos: int, to_video: tuple[float, ...], to_text: tuple[float, ...]
) -> None:
    """One to four captions a video."""
    case = recorded_case(seed, num_videos, 0)
    result = score(case)
    assert figures(result.text_to_video) == pytest.approx(to_video, rel=1e-6)
    assert figures(result.video_to_text) == pytest.approx(to_text, rel=1e-6)
    assert score(case, "fda") == result


@pytest.mark.parametrize(
    ("case", "to_video", "to_text"),
    [
        (recorded_case(1, 14, 3), 4.397211, 4.251464),
        (recorded_case(2, 40, 30), 5.848136, 3.501088),
        (recorded_case(3, 6, 1), 3.491875, 3.5),  # all is level
        (recorded_case(4, 70, 7), 11.996066, 7.585136),
        (recorded_square(0, 12, 3), 3.160875, 2.961958),
        (recorded_square(2, 60, 40), 7.908858, 7.793717),
    ],
)
def test_with_ties_the_mean_rank_is_its_mean_over_orders(case: Case, to_video: float, to_text: float) -> None:
    """Ours is exact; the recorded mean of 2,000 orders has errors of chance."""
    result = score(case)
    assert result.text_to_video.mean_rank == pytest.approx(to_video, rel=5e-3)
    assert result.video_to_text.mean_rank == pytest.approx(to_text, rel=5e-3)


@pytest.mark.parametrize(
    ("case", "to_video"),
    [
        (recorded_case(1, 14, 3), (33.934211, 60.364474, 97.417105)),
        (recorded_case(4, 70, 7), (41.837302, 48.520635, 56.988624)),
        (recorded_square(0, 12, 3), (51.716667, 77.970833, 98.370833)),
        (recorded_square(2, 60, 40), (52.226667, 57.814167, 71.260833)),
    ],
)
def test_no_other_rule_for_ties_is_nearer(case: Case, to_video: tuple[float, ...]) -> None:
    """Summed over R@1, R@5 and R@10 of its mean over orders."""
    counts = text_to_video(case.scores, case.truth)

    def distance(ties: Ties) -> float:
        found = metrics.video_metrics(counts, X_POOL.with_ties(ties), several=False)
        return float(np.abs(np.subtract((found.r1, found.r5, found.r10), to_video)).sum())

    assert min(Ties, key=distance) is X_POOL.ties


def test_infinite_scores_of_others_count_as_there() -> None:
    case = recorded_case(2, 40, 0)
    case.matrix[5, (case.truth[5] + 1) % 40] = np.inf
    case.matrix[9, (case.truth[9] + 2) % 40] = -np.inf
    result = score(case)
    assert figures(result.text_to_video) == pytest.approx((55.555556, 66.666667, 79.79798, 100, 100, 1, 5.313131))
    assert figures(result.video_to_text) == pytest.approx((82.5, 87.5, 87.5, 100, 100, 1, 3.55))


def test_a_query_that_it_drops_is_an_error_here() -> None:
    """There a caption whose own score is NaN is taken for padding: 98 captions are scored as if there were no more."""
    case = recorded_case(2, 40, 0)
    case.matrix[5, case.truth[5]] = np.nan
    with pytest.raises(ValueError, match="own scores of 1 of 99 queries are NaN"):
        score(case)
    without = Case(np.delete(case.matrix, 5, axis=0), np.delete(case.truth, 5))
    recorded = (56.122449, 67.346939, 79.591837, 100, 100, 1.0, 5.27551)
    assert figures(score(without).text_to_video) == pytest.approx(recorded, rel=1e-6)


def test_r100_counts_ranks_up_to_100() -> None:
    matrix = np.tile(np.arange(201, 0, -1, dtype=np.float32), (201, 1))  # video i has rank i + 1, whatever the caption
    found = score(Case(matrix, np.arange(201))).text_to_video
    assert (found.r50, found.r100) == pytest.approx((100 * 50 / 201, 100 * 100 / 201))
