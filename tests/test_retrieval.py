"""The evaluator against plain definitions, matrices worked by hand, and the formulas of CLIP4Clip and its peers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline import retrieval
from pipeline.retrieval import RetrievalMetrics, evaluate_retrieval, text_to_video_ranks, video_to_text_ranks

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


def plain_text_to_video(similarity: Floats, truth: Ints) -> list[int]:
    """The definition: videos at least as similar as the own one."""
    return [sum(bool(s >= row[own]) for s in row) for row, own in zip(similarity, truth, strict=True)]


def plain_video_to_text(similarity: Floats, truth: Ints) -> list[int]:
    """The definition: videos whose best caption is at least as similar as the best own caption."""
    videos = sorted(set(truth.tolist()))
    best = {(i, j): max(similarity[truth == j, i]) for i in videos for j in videos}
    return [sum(bool(best[i, j] >= best[i, i]) for j in videos) for i in videos]


def sorted_ranks(square: NDArray[np.float64]) -> Ints:
    """CLIP4Clip's `compute_metrics`: where the diagonal's value stands in the sorted row (FACTS 3)."""
    ordered = np.sort(-square, axis=1)
    return np.nonzero(ordered == np.diag(-square)[:, None])[1] + 1


def best_single_caption_ranks(similarity: Floats, truth: Ints, num_videos: int) -> list[int]:
    """collaborative-experts' `v2t_metrics` without ties: the best rank of an own caption among all captions."""
    place = np.argsort(np.argsort(-similarity.T, axis=1), axis=1) + 1
    return [int(place[i, truth == i].min()) for i in range(num_videos)]


def unit_rows(rng: np.random.Generator, num_rows: int, dim: int) -> Floats:
    rows = rng.standard_normal((num_rows, dim)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


@st.composite
def tied_cases(draw: st.DrawFn) -> tuple[Floats, Floats, Ints]:
    """Small whole numbers: every product is exact, and many are equal."""
    num_videos, num_captions = draw(st.integers(1, 12)), draw(st.integers(1, 30))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    high = draw(st.integers(2, 5))
    text = rng.integers(1, high, (num_captions, 3)).astype(np.float32)
    video = rng.integers(1, high, (num_videos, 3)).astype(np.float32)
    return text, video * draw(st.sampled_from([1, -1])), rng.integers(0, num_videos, num_captions)


@settings(deadline=None)
@given(case=tied_cases(), block_rows=st.integers(1, 9), caption_rows=st.integers(1, 9))
def test_blocks_give_the_plain_definition(
    case: tuple[Floats, Floats, Ints], block_rows: int, caption_rows: int
) -> None:
    text, video, truth = case
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retrieval, "_BLOCK_ROWS", block_rows)
        patch.setattr(retrieval, "_CAPTION_ROWS", caption_rows)
        to_video, to_text = text_to_video_ranks(text, video, truth), video_to_text_ranks(text, video, truth)
    similarity = text @ video.T
    assert to_video.tolist() == plain_text_to_video(similarity, truth)
    assert to_text.tolist() == plain_video_to_text(similarity, truth)


def test_more_rows_than_a_block() -> None:
    rng = np.random.default_rng(0)
    text = rng.integers(-3, 4, (9_000, 4)).astype(np.float32) + 0.5
    video = rng.integers(-3, 4, (700, 4)).astype(np.float32) + 0.5
    truth = np.sort(rng.integers(0, 700, 9_000))
    similarity = text @ video.T
    own = np.take_along_axis(similarity, truth[:, None], axis=1)
    assert (text_to_video_ranks(text, video, truth) == (similarity >= own).sum(axis=1)).all()
    best = np.stack([similarity[truth == j].max(axis=0) for j in range(700)])
    assert (video_to_text_ranks(text, video, truth) == (best >= np.diag(best)).sum(axis=0)).all()


def test_all_tied_is_last_place() -> None:
    result = evaluate_retrieval(np.ones((4, 2), np.float32), np.ones((20, 2), np.float32), np.arange(4))
    assert result.text_to_video == RetrievalMetrics(4, 20, 0.0, 0.0, 0.0, 20.0, 20.0)
    assert result.video_to_text == RetrievalMetrics(4, 4, 0.0, 100.0, 100.0, 4.0, 4.0)
    assert result.num_videos_without_captions == 16


def test_several_captions_worked_by_hand() -> None:
    # Columns: videos 0, 1, 2 (2 has no caption). Captions 0-2 describe video 1, caption 3 video 0.
    text = np.array([[5, 4, 9], [1, 6, 2], [3, 3, 3], [5, 7, 1]], np.float32)
    video, truth = np.eye(3, dtype=np.float32), np.array([1, 1, 1, 0])
    assert text_to_video_ranks(text, video, truth).tolist() == [3, 1, 3, 2]
    # Video 0: own best 5 (caption 3), the best of video 1 is 5 too. Video 1: own best 6, the best of video 0 is 7.
    assert video_to_text_ranks(text, video, truth).tolist() == [2, 2]
    result = evaluate_retrieval(text, video, truth)
    assert result.text_to_video == RetrievalMetrics(4, 3, 25.0, 100.0, 100.0, 2.5, 2.25)
    assert result.num_videos_without_captions == 1


@pytest.mark.parametrize("seed", range(40))
def test_without_ties_equals_the_published_evaluators(seed: int) -> None:
    rng = np.random.default_rng(seed)
    num_videos = int(rng.integers(2, 40))
    truth = np.repeat(np.arange(num_videos), rng.integers(1, 6, num_videos))
    distinct = rng.permutation(len(truth) * num_videos) + 1
    text, video = distinct.reshape(len(truth), num_videos).astype(np.float32), np.eye(num_videos, dtype=np.float32)
    similarity = text  # exactly, because the videos are unit vectors
    to_video, to_text = text_to_video_ranks(text, video, truth), video_to_text_ranks(text, video, truth)
    double_argsort = np.argsort(np.argsort(-similarity, axis=1), axis=1)  # CLIP4Clip and collaborative-experts, T2V
    assert (to_video == double_argsort[np.arange(len(truth)), truth] + 1).all()
    best = np.stack([similarity[truth == j].max(axis=0) for j in range(num_videos)])
    assert (to_text == sorted_ranks(best.T.astype(np.float64))).all()  # CLIP4Clip, V2T
    theirs = np.array(best_single_caption_ranks(similarity, truth, num_videos))
    assert RetrievalMetrics.from_ranks(to_text, num_videos).r1 == 100.0 * np.mean(theirs == 1)
    assert (theirs >= to_text).all()  # the other numbers differ: single captions are more candidates


@pytest.mark.parametrize("seed", range(60))
def test_equal_rows_tie_exactly(seed: int) -> None:
    """Equal videos share one rank whichever of them is the own one, at every position and shape."""
    rng = np.random.default_rng(seed)
    num_captions, num_videos = int(rng.integers(1, 300)), int(rng.integers(2, 700))
    dim = int(rng.choice([1, 3, 17, 100, 512, 513]))
    text, video = unit_rows(rng, num_captions, dim), unit_rows(rng, num_videos, dim)
    equal = np.unique(rng.integers(0, num_videos, 6))
    video[equal] = video[equal[0]]
    ranks = [text_to_video_ranks(text, video, np.full(num_captions, own)) for own in equal]
    assert all((each == ranks[0]).all() for each in ranks)
    assert (ranks[0] >= len(equal)).all()


@pytest.mark.parametrize("seed", range(20))
def test_equal_captions_tie_exactly(seed: int) -> None:
    """One text for every video, far apart and among others: no video knows its own."""
    rng = np.random.default_rng(seed)
    num_videos, dim = int(rng.integers(2, 90)), int(rng.choice([3, 17, 512, 513]))
    video = unit_rows(rng, num_videos, dim)
    same = np.repeat(unit_rows(rng, 1, dim), num_videos, axis=0)
    others = -video  # each video's least similar captions, which never win
    text = np.concatenate([same, others, same])
    truth = np.concatenate([np.arange(num_videos), rng.permutation(num_videos), np.arange(num_videos)])
    keep = np.ones(len(text), bool)
    keep[num_videos : 2 * num_videos] = (others @ video.T).max(axis=1) < (same[:1] @ video.T).min()
    assert (video_to_text_ranks(text[keep], video, truth[keep]) == num_videos).all()


def test_opposite_zeros_are_equal() -> None:
    video = np.array([[0.3, 0.0], [0.3, -0.0]], np.float32)
    assert text_to_video_ranks(np.ones((1, 2), np.float32), video, np.array([0])).tolist() == [2]


def test_metrics_of_ranks() -> None:
    metrics = RetrievalMetrics.from_ranks(np.array([1, 1, 5, 6, 10, 11, 40, 50]), num_candidates=50)
    assert metrics.to_dict() == {
        "num_queries": 8,
        "num_candidates": 50,
        "r1": 25.0,
        "r5": 37.5,
        "r10": 62.5,
        "median_rank": 8.0,
        "mean_rank": 15.5,
    }


@pytest.mark.parametrize(("ranks", "message"), [([], "not empty"), ([0, 1], r"1\.\.3"), ([1, 4], r"got 1\.\.4")])
def test_ranks_out_of_range(ranks: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RetrievalMetrics.from_ranks(np.array(ranks, np.int64), num_candidates=3)


def broken(row: int, value: float) -> Floats:
    rows = np.ones((8, 2), np.float32)
    rows[row:] = value
    return rows


ONES = np.ones((8, 2), np.float32)


@pytest.mark.parametrize("ranks_of", [text_to_video_ranks, video_to_text_ranks])
@pytest.mark.parametrize(
    ("text", "video", "truth", "message"),
    [
        (
            broken(7, np.nan),
            ONES,
            np.arange(8),
            r"text embeddings: 1 of 8 rows are NaN, infinite or too large \(rows 7\)",
        ),
        (ONES, broken(1, np.inf), np.arange(8), r"video embeddings: 7 of 8 rows .* \(rows 1, 2, 3, 4, 5, \.\.\.\)"),
        (ONES, broken(6, 1e30), np.arange(8), r"video embeddings: 2 of 8 rows are NaN, infinite or too large"),
        (broken(2, 0), ONES, np.arange(8), r"text embeddings: 6 of 8 rows are zero or vanishing \(rows 2, 3"),
        (ONES, broken(7, 1e-30), np.arange(8), "1 of 8 rows are zero or vanishing"),
        (ONES.astype(np.float64), ONES, np.arange(8), "float32 .* got float64"),
        (ONES, ONES[0], np.arange(8), r"got float32 of shape \(2,\)"),
        (ONES[:0], ONES, np.arange(0), r"at least one of each, got float32 of shape \(0, 2\)"),
        (ONES, ONES[:, :1], np.arange(8), "one dim, got 2 and 1"),
        (ONES, ONES, np.arange(7), r"truth must be int64 of shape \(8,\).* got int64, \(7,\)"),
        (ONES, ONES, np.arange(8.0), "got float64"),
        (ONES, ONES[:5], np.arange(8), r"0\.\.4, but 3 of 8 captions do not: caption 5 says 5"),
        (ONES, ONES, np.arange(8) - 1, "1 of 8 captions do not: caption 0 says -1"),
    ],
)
def test_refusals(
    ranks_of: Callable[[Floats, Floats, Ints], Ints], text: Floats, video: Floats, truth: Ints, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        ranks_of(text, video, truth)
