"""Rules for ties, metrics and protocols: worked by hand, and as the references' own code has them.

The recorded figures are what `metrics.py` of CLIP4Clip (508ffa3) and `model/metric.py` of collaborative-experts gave
for `recorded_case` and `recorded_square`; ours were equal to theirs in 2,000 random cases more.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.evaluation import metrics
from pipeline.evaluation.metrics import RetrievalMetrics, RetrievalResult, metrics_of, ranks_of
from pipeline.evaluation.protocols import PROTOCOLS, Protocol, Ties
from pipeline.evaluation.ranking import RankCounts, both_ways
from tests.retrieval_cases import Case, recorded_case, recorded_square


def rank_counts(above: list[int], level: list[int], num_candidates: int) -> RankCounts:
    return RankCounts(np.array(above, np.int64), np.array(level, np.int64), num_candidates)


def score(protocol: Protocol, case: Case, *, gains: bool = False) -> RetrievalResult:
    to_video, to_text = both_ways(case.scores, case.truth, gains=gains)
    return metrics.score(to_video, to_text, protocol)


def clip4clip_figures(metrics: RetrievalMetrics) -> tuple[float, ...]:
    return metrics.r1, metrics.r5, metrics.r10, metrics.median_rank, metrics.mean_rank


def collaborative_experts_figures(metrics: RetrievalMetrics) -> tuple[float, ...]:
    recalls = metrics.r1, metrics.r5, metrics.r10, metrics.r50
    return *recalls, metrics.geometric_mean, metrics.median_rank, metrics.mean_rank


@pytest.mark.parametrize(
    ("seed", "num_videos", "high", "to_video", "to_text"),
    [
        (0, 12, 3, (25.0, 67.5, 97.5, 4.0, 4.3), (25.641026, 71.794872, 100.0, 3.0, 3.948718)),
        (1, 20, 2, (12.738854, 48.407643, 88.535032, 6.0, 5.917197), (12.5, 47.5, 87.5, 6.0, 6.00625)),
        (2, 60, 40, (32.323232, 39.393939, 57.575758, 9, 10.777778), (31.067961, 36.893204, 59.223301, 9, 10.61165)),
    ],
)
def test_clip4clip_with_ties(
    seed: int, num_videos: int, high: int, to_video: tuple[float, ...], to_text: tuple[float, ...]
) -> None:
    """`compute_metrics` of a square matrix and of its transpose."""
    result = score(PROTOCOLS["clip4clip"], recorded_square(seed, num_videos, high))
    assert clip4clip_figures(result.text_to_video) == pytest.approx(to_video, rel=1e-6)
    assert clip4clip_figures(result.video_to_text) == pytest.approx(to_text, rel=1e-6)


@pytest.mark.parametrize(
    ("seed", "num_videos", "to_video", "to_text"),
    [
        (0, 9, (44.444443, 100.0, 100.0, 2.0, 2.277778), (77.777778, 100.0, 100.0, 1.0, 1.555556)),
        (1, 14, (50.0, 81.578949, 97.368423, 1.0, 3.105263), (85.714286, 85.714286, 100.0, 1.0, 2.285714)),
        (2, 40, (55.555557, 66.666664, 79.797981, 1.0, 5.323232), (82.5, 87.5, 87.5, 1.0, 3.55)),
    ],
)
def test_clip4clip_with_several_captions(
    seed: int, num_videos: int, to_video: tuple[float, ...], to_text: tuple[float, ...]
) -> None:
    """`tensor_text_to_video_metrics`, and `compute_metrics` of `tensor_video_to_text_sim`."""
    result = score(PROTOCOLS["clip4clip"], recorded_case(seed, num_videos, 0))
    assert clip4clip_figures(result.text_to_video) == pytest.approx(to_video, rel=1e-6)
    assert clip4clip_figures(result.video_to_text) == pytest.approx(to_text, rel=1e-6)


@pytest.mark.parametrize(
    ("seed", "num_videos", "high", "to_video", "to_text"),
    [
        (
            0,
            9,
            0,
            (44.444444, 100.0, 100.0, 100.0, 76.314283, 2.0, 2.277778),
            (77.777778, 100.0, 100.0, 100.0, 91.964139, 1.0, 1.555556),
        ),
        (
            1,
            14,
            3,
            (28.947368, 60.526316, 100.0, 100.0, 55.956573, 4.25, 4.394737),
            (42.857143, 57.142857, 78.571429, 100.0, 57.732, 1.75, 6.928571),
        ),
        (
            2,
            40,
            30,
            (55.555556, 64.646465, 77.777778, 100.0, 65.369616, 1.0, 5.848485),
            (82.5, 85.0, 90.0, 100.0, 85.777186, 1.0, 4.4625),
        ),
        (3, 6, 1, (0.0, 100.0, 100.0, 100.0, 0.0, 3.5, 3.5), (0.0, 0.0, 100.0, 100.0, 0.0, 6.5, 6.5)),
        (
            4,
            70,
            7,
            (40.21164, 47.089947, 57.671958, 100.0, 47.798569, 6.5, 11.997354),
            (62.857143, 71.428571, 72.857143, 95.714286, 68.902172, 1.0, 9.864286),
        ),
    ],
)
def test_collaborative_experts(
    seed: int, num_videos: int, high: int, to_video: tuple[float, ...], to_text: tuple[float, ...]
) -> None:
    """`t2v_metrics` and `v2t_metrics` with the `query_masks` of videos that have fewer captions than others."""
    result = score(PROTOCOLS["collaborative-experts"], recorded_case(seed, num_videos, high))
    assert collaborative_experts_figures(result.text_to_video) == pytest.approx(to_video, rel=1e-6)
    assert collaborative_experts_figures(result.video_to_text) == pytest.approx(to_text, rel=1e-6)


def test_clip4clip_has_one_rank_a_caption_if_videos_have_several() -> None:
    """CLIP4Clip takes them from an unstable sort: any one of the shared ranks may come out. Here it is the last."""
    case = recorded_case(3, 6, 1)  # all is level
    result = score(PROTOCOLS["clip4clip"], case)
    assert result.text_to_video.mean_rank == 6.0
    assert result.video_to_text.mean_rank == 3.5  # of ranks 1..6, six times: this is `compute_metrics` again
    asked = score(PROTOCOLS["clip4clip"].with_ties(Ties.OPTIMISTIC), case)
    assert asked.text_to_video.mean_rank == asked.video_to_text.mean_rank == 1.0


def test_all_tied_under_each_protocol() -> None:
    case = Case(np.ones((20, 20), np.float32), np.arange(20))
    figures = {
        name: (metrics.r1, metrics.r5, metrics.r10, metrics.median_rank, metrics.mean_rank)
        for name, protocol in PROTOCOLS.items()
        for metrics in [score(protocol, case).text_to_video]
    }
    last = (0.0, 0.0, 0.0, 20.0, 20.0)
    assert figures == {
        "fda": last,
        "clip4clip": (5.0, 25.0, 50.0, 10.5, 10.5),
        "collaborative-experts": (0.0, 0.0, 100.0, 10.5, 10.5),  # 9.5 from 0 is below 10
        "x-pool": (0.0, 0.0, 0.0, 10.5, 10.5),
        "paired": last,
        "paragraph": last,
    }


def test_metrics_worked_by_hand() -> None:
    ranks = [1, 1, 5, 6, 10, 11, 40, 50]
    found = metrics_of(rank_counts([rank - 1 for rank in ranks], [1] * 8, 50), Ties.PESSIMISTIC)
    assert found.to_dict() == {
        "num_queries": 8,
        "num_candidates": 50,
        "r1": 25.0,
        "r5": 37.5,
        "r10": 62.5,
        "r50": 100.0,
        "r100": 100.0,
        "geometric_mean": pytest.approx((25 * 37.5 * 62.5) ** (1 / 3)),
        "median_rank": 8.0,
        "mean_rank": 15.5,
        "ndcg": None,
    }


def test_lower_median_is_the_lower_of_the_middle_two() -> None:
    ranked = rank_counts([0, 1, 3, 6], [1] * 4, 9)
    assert metrics_of(ranked, Ties.PESSIMISTIC).median_rank == 3.0
    assert metrics_of(ranked, Ties.PESSIMISTIC, lower_median=True).median_rank == 2.0


counts = st.lists(st.tuples(st.integers(0, 30), st.integers(1, 30)), min_size=1, max_size=20)


@given(counts)
def test_ties_in_order(pairs: list[tuple[int, int]]) -> None:
    ranked = rank_counts([above for above, _ in pairs], [level for _, level in pairs], 60)
    first, mean, last = (ranks_of(ranked, ties) for ties in (Ties.OPTIMISTIC, Ties.MEAN, Ties.PESSIMISTIC))
    np.testing.assert_array_equal(mean, (first + last) / 2)
    each = [rank for above, level in pairs for rank in range(above + 1, above + level + 1)]
    assert ranks_of(ranked, Ties.EACH).tolist() == each
    recalls = [metrics_of(ranked, ties) for ties in (Ties.OPTIMISTIC, Ties.MEAN, Ties.PESSIMISTIC)]
    for name in ("r1", "r5", "r10", "r50", "geometric_mean"):
        assert [getattr(one, name) for one in recalls] == sorted((getattr(one, name) for one in recalls), reverse=True)


@given(counts)
def test_without_ties_all_rules_agree(pairs: list[tuple[int, int]]) -> None:
    ranked = rank_counts([above for above, _ in pairs], [1] * len(pairs), 60)
    first, *others = (metrics_of(ranked, ties, rounds_half_down=half) for ties in Ties for half in (False, True))
    assert all(other == first for other in others)


def test_ndcg_is_the_mean_gain_in_percent() -> None:
    matrix = np.array([[2, 0], [1, 3], [0, 5]], np.float32)  # caption 0 and 1 describe video 0, caption 2 video 1
    case = Case(matrix, np.array([0, 0, 1]))
    assert score(PROTOCOLS["fda"], case, gains=True).video_to_text.ndcg == pytest.approx(100.0)
    assert score(PROTOCOLS["fda"], case, gains=True).text_to_video.ndcg is None
    swapped = Case(matrix, np.array([0, 1, 0]))  # of video 0 at 1 and 3, of video 1 at 2
    gains = (1 + 1 / 2) / (1 + 1 / np.log2(3)), 1 / np.log2(3)
    assert score(PROTOCOLS["fda"], swapped, gains=True).video_to_text.ndcg == pytest.approx(100 * np.mean(gains))


def test_which_protocols_can_be_applied() -> None:
    for name in ("fda", "clip4clip", "collaborative-experts", "x-pool"):
        assert PROTOCOLS[name].why_not(2, are_paragraphs=False) == ""
    assert "a video here has 2" in PROTOCOLS["paired"].why_not(2, are_paragraphs=True)
    assert PROTOCOLS["paired"].why_not(1, are_paragraphs=False) == ""
    assert "--paragraphs" in PROTOCOLS["paragraph"].why_not(1, are_paragraphs=False)
    assert PROTOCOLS["paragraph"].why_not(1, are_paragraphs=True) == ""


def test_another_rule_for_ties() -> None:
    case = Case(np.ones((4, 4), np.float32), np.arange(4))
    assert score(PROTOCOLS["fda"].with_ties(Ties.OPTIMISTIC), case).text_to_video.r1 == 100.0
    assert PROTOCOLS["fda"].with_ties(None) is PROTOCOLS["fda"]
