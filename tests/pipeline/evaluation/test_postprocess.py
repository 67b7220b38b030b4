"""Dual softmax and QB-Norm against their definitions, written out in float64 on the whole matrix."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.evaluation import grid, postprocess
from pipeline.evaluation.postprocess import DualSoftmax, QueryBankNorm
from pipeline.evaluation.ranking import RankCounts, both_ways, text_to_video
from pipeline.evaluation.scores.dot import DotScores
from pipeline.evaluation.top_candidates import top_texts, top_videos
from tests.retrieval_cases import Case, Floats, MatrixScores, tied_cases, unit_rows, whole

Doubles = NDArray[np.float64]


def softmax(matrix: Doubles, axis: int) -> Doubles:
    weights: Doubles = np.exp(matrix - matrix.max(axis=axis, keepdims=True))
    weights /= weights.sum(axis=axis, keepdims=True)
    return weights


def plain_dual_softmax(matrix: Floats, temperature: float, axis: int) -> Doubles:
    wide = matrix.astype(np.float64)
    wide *= softmax(wide / temperature, axis) * matrix.shape[axis]
    return wide


def plain_query_bank_norm(matrix: Floats, bank: Floats, beta: float, k: int) -> Doubles:
    """Rows are queries."""
    wide, bank_wide = matrix.astype(np.float64), bank.astype(np.float64)
    active = {column for row in bank for column in np.flatnonzero(row >= np.sort(row)[-min(k, len(row))])}
    sums = np.exp(beta * bank_wide).sum(axis=0)
    for row in wide:
        if active & set(np.flatnonzero(row == row.max())):
            row[:] = np.exp(beta * row) / sums
    return wide


def assert_ranked_as(counts: RankCounts, rows: Doubles, own: NDArray[np.int64]) -> None:
    """If two numbers are so near that rounding decides, either order is right."""
    mine = rows[np.arange(len(own)), own][:, None]
    near = 1e-9 * np.abs(mine)
    assert (counts.above >= (rows > mine + near).sum(axis=1)).all()
    assert (counts.above + counts.level <= (rows >= mine - near).sum(axis=1)).all()


def small_blocks(patch: pytest.MonkeyPatch, rows: int) -> None:
    patch.setattr(grid, "_TILE_SIDE", rows)
    patch.setattr(grid, "_LEAST_ROWS", 1)
    patch.setattr(postprocess, "_BLOCK_ROWS", rows)
    patch.setattr(postprocess, "_LEAST_ROWS", 1)


@settings(deadline=None)
@given(case=tied_cases(), rows=st.integers(1, 9), temperature=st.sampled_from([0.5, 1.0, 7.0]))
def test_dual_softmax_is_its_definition(case: Case, rows: int, temperature: float) -> None:
    with pytest.MonkeyPatch.context() as patch:
        small_blocks(patch, rows)
        scores = DualSoftmax(case.scores, temperature)
        for found, axis in ((whole(scores).to_video.T, 0), (whole(scores).to_text.T, 1)):
            np.testing.assert_allclose(found, plain_dual_softmax(case.matrix, temperature, axis), rtol=1e-12)
        to_video, to_text = both_ways(scores, case.truth)
    assert_ranked_as(to_video, plain_dual_softmax(case.matrix, temperature, 0), case.truth)
    rows_of_videos = plain_dual_softmax(case.matrix, temperature, 1).T[to_text.videos]
    best = np.stack([rows_of_videos[:, case.truth == video].max(axis=1) for video in to_text.videos], axis=1)
    assert_ranked_as(to_text.best, best, np.arange(len(best)))
    own = [np.flatnonzero(case.truth == video) for video in to_text.videos]
    best_own = np.array([mine[row[mine].argmax()] for mine, row in zip(own, rows_of_videos, strict=True)])
    assert_ranked_as(to_text.single, rows_of_videos, best_own)


@settings(deadline=None)
@given(
    case=tied_cases(),
    rows=st.integers(1, 9),
    beta=st.sampled_from([0.1, 1.0, 5.0]),
    k=st.integers(1, 4),
    seed=st.integers(0, 2**32),
)
def test_query_bank_norm_is_its_definition(case: Case, rows: int, beta: float, k: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    num_texts, num_videos = case.matrix.shape
    texts = rng.integers(-2, 3, (int(rng.integers(1, 20)), num_videos)).astype(np.float32)
    videos = rng.integers(-2, 3, (num_texts, int(rng.integers(1, 20)))).astype(np.float32)
    with pytest.MonkeyPatch.context() as patch:
        small_blocks(patch, rows)
        scores = QueryBankNorm(case.scores, MatrixScores(texts), MatrixScores(videos), beta=beta, k=k)
        to_video, to_text = both_ways(scores, case.truth)
    assert_ranked_as(to_video, plain_query_bank_norm(case.matrix, texts, beta, k), case.truth)
    rows_of_videos = plain_query_bank_norm(case.matrix.T, videos.T, beta, k)[to_text.videos]
    best = np.stack([rows_of_videos[:, case.truth == video].max(axis=1) for video in to_text.videos], axis=1)
    assert_ranked_as(to_text.best, best, np.arange(len(best)))


def test_dual_softmax_worked_by_hand() -> None:
    # Text 1 prefers video 0, which text 0 prefers more: at ln 2 the weights are whole numbers.
    scores = DualSoftmax(MatrixScores(np.array([[3, 0], [2, 1]], np.float32)), 1 / np.log(2))
    assert pytest.approx(np.array([[3 * 2 * 2 / 3, 0], [2 * 2 / 3, 2 * 2 / 3]])) == whole(scores).to_video.T
    assert whole(scores).to_text == pytest.approx(np.array([[3 * 2 * 8 / 9, 2 * 2 * 2 / 3], [0, 2 / 3]]))


def test_a_negative_score_falls_with_its_share() -> None:
    matrix = np.array([[-0.2, -0.3], [0.9, -0.9]], np.float32)
    assert text_to_video(MatrixScores(matrix), np.array([0, 0])).above.tolist() == [0, 0]
    # Text 0 has nearly no share of video 0 but all of video 1: that one is the lower, as before. With shares turned
    # round, the better of two negative scores is the lower one.
    scores = whole(DualSoftmax(MatrixScores(matrix), 0.1)).to_video[:, 0]
    assert scores[1] < scores[0] < 0
    turned = whole(DualSoftmax(MatrixScores(np.array([[-0.2, -0.3], [-0.9, 0.9]], np.float32)), 0.1)).to_video[:, 0]
    assert turned[0] < turned[1] < 0


def test_query_bank_norm_worked_by_hand() -> None:
    # Video 0 is a hub: every text of the bank is near to it, and it alone is active. So text 0 alone is normalised.
    base = MatrixScores(np.array([[0.5, 0.4], [0.1, 0.2]], np.float32))
    bank = MatrixScores(np.array([[0.5, 0.1], [0.5, 0.0], [0.5, 0.0]], np.float32))
    scores = QueryBankNorm(base, bank, base)
    found = whole(scores).to_video.T
    assert found[0, 0] < found[0, 1]
    assert found[1].tolist() == pytest.approx([0.1, 0.2])
    assert text_to_video(scores, np.array([1, 1])).above.tolist() == [0, 0]


@pytest.mark.parametrize("seed", range(12))
def test_equal_rows_tie_exactly(seed: int) -> None:
    rng = np.random.default_rng(seed)
    num_texts, num_videos, dim = int(rng.integers(30, 900)), int(rng.integers(30, 700)), int(rng.choice([3, 17, 512]))
    text, video = unit_rows(rng, num_texts, dim), unit_rows(rng, num_videos, dim)
    equal = np.unique(rng.integers(0, num_videos, 6))
    video[equal] = video[equal[0]]
    text[equal[equal < num_texts]] = text[equal[0] % num_texts]
    base = DotScores(text, video)
    banks = DotScores(unit_rows(rng, 2_000, dim), video), DotScores(text, unit_rows(rng, 700, dim))
    for scores in (DualSoftmax(base), QueryBankNorm(base, *banks)):
        rows = whole(scores).to_video[equal]
        assert (rows == rows[:1]).all()
        same = np.flatnonzero((text == text[equal[0] % num_texts]).all(axis=1))
        columns = whole(scores).to_text[:, same]
        assert (columns == columns[:, :1]).all()


def test_a_query_that_finds_its_own_item_first_scores_it_as_high_as_the_first() -> None:
    """Also in the last bits, which float32 has not."""
    rng, truth = np.random.default_rng(0), np.arange(50)
    text = unit_rows(rng, 50, 8)
    scores = DualSoftmax(DotScores(text, text))
    for top in (top_videos(scores, truth, 1), top_texts(scores, truth, 1)):
        np.testing.assert_array_equal(top.items[:, 0], truth)
        np.testing.assert_array_equal(top.own, top.scores[:, 0])


def test_memory_that_is_not_set_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """A signalling NaN in it would be a warning when it is converted to float64."""
    empty = np.empty

    def of_signalling_nans(shape: int | tuple[int, ...], dtype: type = np.float64) -> NDArray[np.generic]:
        made: NDArray[np.generic] = empty(shape, dtype)
        if dtype is np.float32:
            made.view(np.uint32)[...] = 0x7FA00000
        return made

    monkeypatch.setattr(np, "empty", of_signalling_nans)
    text = unit_rows(np.random.default_rng(0), 6, 8)
    scores, truth = DualSoftmax(DotScores(text, text[:3])), np.repeat(np.arange(3), 2)
    both_ways(scores, truth, gains=True)
    top_videos(scores, truth, 1)
    top_texts(scores, truth, 1)


@pytest.mark.parametrize("temperature", [0.0035, 0.01, 1e6])
def test_extreme_scores_stay_numbers(temperature: float) -> None:
    matrix = np.array([[-1, -1, 1, 1e-30], [1, -1, 0, -0.0], [1, 1, 1, 1], [-1, -1, -1, -1]], np.float32)
    scores = DualSoftmax(MatrixScores(matrix), temperature)
    found = whole(scores).to_video.T
    assert np.isfinite(found).all()
    np.testing.assert_array_equal(np.sign(found), np.sign(matrix))  # none vanished
    bank = MatrixScores(1e4 * matrix)
    assert np.isfinite(whole(QueryBankNorm(MatrixScores(matrix), bank, bank, beta=1e4)).to_video).all()


@pytest.mark.parametrize("value", [0.0, 1.0])
@pytest.mark.parametrize("place", [0, 3])
def test_scores_of_every_block_count_for_how_low_a_temperature_may_be(
    monkeypatch: pytest.MonkeyPatch, value: float, place: int
) -> None:
    small_blocks(monkeypatch, 1)
    scores = np.full(4, 1 - value, np.float32)
    scores[place] = value
    with pytest.raises(ValueError, match="is too low for scores of 0 to 1"):
        whole(DualSoftmax(MatrixScores(scores.reshape(2, 2)), 0.001))


def test_refusals() -> None:
    scores, fewer = MatrixScores(np.eye(3, dtype=np.float32)), MatrixScores(np.eye(2, dtype=np.float32))
    for temperature in (0.0, -1.0, np.inf, np.nan):
        with pytest.raises(ValueError, match="temperature must be above zero, got"):
            DualSoftmax(scores, temperature)
    with pytest.raises(
        ValueError, match=r"temperature 0.001 is too low for scores of 0 to 1: it must be at least 0.0017"
    ):
        whole(DualSoftmax(scores, 0.001))
    with pytest.raises(ValueError, match="beta must be above zero and k at least 1, got 0 and 1"):
        QueryBankNorm(scores, scores, scores, beta=0)
    with pytest.raises(ValueError, match="got 20.0 and 0"):
        QueryBankNorm(scores, scores, scores, k=0)
    with pytest.raises(ValueError, match="text_bank scores 2 videos, there are 3"):
        QueryBankNorm(scores, fewer, scores)
    with pytest.raises(ValueError, match="video_bank scores 2 texts, there are 3"):
        QueryBankNorm(scores, scores, fewer)
