"""RankCounts against plain definitions, at every size of a tile, and matrices worked by hand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.evaluation import grid
from pipeline.evaluation.grid import Grid
from pipeline.evaluation.ranking import RankCounts, both_ways, text_to_video
from pipeline.evaluation.scores import backend
from pipeline.evaluation.scores.backend import Rows
from pipeline.evaluation.scores.dot import DotScores
from pipeline.evaluation.scores.equal import Strip, Tile
from tests.retrieval_cases import (
    Case,
    Ints,
    MatrixScores,
    plain_best,
    plain_gains,
    plain_single,
    plain_text_to_video,
    tied_cases,
    video_to_text,
)


def pairs(counts: RankCounts) -> list[tuple[int, int]]:
    return list(zip(counts.above.tolist(), counts.level.tolist(), strict=True))


@settings(deadline=None)
@given(
    case=tied_cases(),
    side=st.integers(1, 20),
    least_rows=st.integers(1, 4),
    part_scores=st.sampled_from([1, 20, 2**18]),
    most_bytes=st.sampled_from([1, 2, 255]),
    equal=st.booleans(),
)
def test_tiles_give_the_plain_definition(
    case: Case, side: int, least_rows: int, part_scores: int, most_bytes: int, *, equal: bool
) -> None:
    scores = case.with_equal_videos() if equal else case.scores
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grid, "_TILE_SIDE", side)
        patch.setattr(grid, "_LEAST_ROWS", least_rows)
        patch.setattr(backend, "_PART_SCORES", part_scores)
        patch.setattr(backend, "_MOST_BYTES", most_bytes)
        to_video, to_text = both_ways(scores, case.truth, gains=True)
        assert pairs(text_to_video(scores, case.truth)) == pairs(to_video)
    case = Case(scores.matrix, case.truth)
    assert pairs(to_video) == plain_text_to_video(case)
    assert to_text.videos.tolist() == sorted(set(case.truth.tolist()))
    assert pairs(to_text.best) == plain_best(case)
    assert pairs(to_text.single) == plain_single(case)
    assert to_text.gain == pytest.approx(plain_gains(case))
    assert (to_video.num_candidates, to_text.best.num_candidates, to_text.single.num_candidates) == (
        case.scores.num_videos,
        len(to_text.videos),
        case.scores.num_texts,
    )


@settings(deadline=None)
@given(case=tied_cases(), seed=st.integers(0, 2**32))
def test_the_order_of_captions_and_videos_does_not_matter(case: Case, seed: int) -> None:
    rng = np.random.default_rng(seed)
    captions, videos = rng.permutation(case.scores.num_texts), rng.permutation(case.scores.num_videos)
    shuffled = Case(case.matrix[captions][:, videos], np.argsort(videos)[case.truth[captions]])
    to_video = text_to_video(case.scores, case.truth)
    assert pairs(text_to_video(shuffled.scores, shuffled.truth)) == pairs(to_video.of(captions))
    before = video_to_text(case.scores, case.truth, gains=True)
    after = video_to_text(shuffled.scores, shuffled.truth, gains=True)
    place = np.searchsorted(before.videos, videos[after.videos])
    assert pairs(after.best) == pairs(before.best.of(place))
    assert pairs(after.single) == pairs(before.single.of(place))
    assert before.gain is not None
    assert after.gain == pytest.approx(before.gain[place])


def test_more_rows_than_a_block() -> None:
    rng = np.random.default_rng(0)
    text = rng.integers(-3, 4, (9_000, 4)).astype(np.float32) + 0.5
    video = rng.integers(-3, 4, (700, 4)).astype(np.float32) + 0.5
    truth = np.sort(rng.integers(0, 700, 9_000))
    scores, similarity = DotScores(text, video), text @ video.T
    own = np.take_along_axis(similarity, truth[:, None], axis=1)
    to_video = text_to_video(scores, truth)
    np.testing.assert_array_equal(to_video.above, (similarity > own).sum(axis=1))
    np.testing.assert_array_equal(to_video.level, (similarity == own).sum(axis=1))
    best = np.stack([similarity[truth == j].max(axis=0) for j in range(700)])
    to_text = video_to_text(scores, truth)
    np.testing.assert_array_equal(to_text.best.above, (best > np.diag(best)).sum(axis=0))
    np.testing.assert_array_equal(to_text.best.level, (best == np.diag(best)).sum(axis=0))
    np.testing.assert_array_equal(to_text.single.above, (similarity > np.diag(best)).sum(axis=0))
    np.testing.assert_array_equal(to_text.single.level, (similarity == np.diag(best)).sum(axis=0))


def test_all_tied() -> None:
    scores = MatrixScores(np.ones((4, 20), np.float32))
    assert pairs(text_to_video(scores, np.arange(4))) == [(0, 20)] * 4
    found = video_to_text(scores, np.array([3, 3, 0, 7]), gains=True)
    assert found.videos.tolist() == [0, 3, 7]
    assert pairs(found.best) == [(0, 3)] * 3
    assert pairs(found.single) == [(0, 4)] * 3
    # Last among all: at 4; at 3 and 4; at 4.
    assert found.gain == pytest.approx(
        [1 / np.log2(5), (1 / 2 + 1 / np.log2(5)) / (1 + 1 / np.log2(3)), 1 / np.log2(5)]
    )


def test_several_captions_worked_by_hand() -> None:
    # Columns: videos 0, 1, 2 (2 has no caption). Captions 0-2 describe video 1, caption 3 video 0.
    matrix = np.array([[5, 4, 9], [1, 6, 2], [3, 3, 3], [5, 7, 1]], np.float32)
    scores, truth = MatrixScores(matrix), np.array([1, 1, 1, 0])
    assert pairs(text_to_video(scores, truth)) == [(2, 1), (0, 1), (0, 3), (1, 1)]
    found = video_to_text(scores, truth, gains=True)
    assert found.videos.tolist() == [0, 1]
    # Video 0: its caption has 5, and so has the best of video 1. Video 1: its best has 6, that of video 0 has 7.
    assert pairs(found.best) == [(0, 2), (1, 1)]
    assert pairs(found.single) == [(0, 2), (1, 1)]
    # Video 0: its caption shares place 1 and counts at 2. Video 1: at 2, 3 and 4 instead of 1, 2 and 3.
    places = 1 / np.log2([2, 3, 4, 5])
    assert found.gain == pytest.approx([places[1], places[1:].sum() / places[:3].sum()])


def test_gains_are_left_out_unless_asked_for() -> None:
    assert video_to_text(MatrixScores(np.ones((2, 2), np.float32)), np.arange(2)).gain is None


@pytest.mark.parametrize("seed", range(40))
def test_without_ties_equals_a_double_argsort(seed: int) -> None:
    """The published evaluators sort."""
    rng = np.random.default_rng(seed)
    num_videos = int(rng.integers(2, 40))
    truth = np.repeat(np.arange(num_videos), rng.integers(1, 6, num_videos))
    matrix = rng.permutation(len(truth) * num_videos).reshape(len(truth), num_videos).astype(np.float32)
    place = np.argsort(np.argsort(-matrix, axis=1), axis=1)
    found = text_to_video(MatrixScores(matrix), truth)
    np.testing.assert_array_equal(found.above, place[np.arange(len(truth)), truth])
    assert (found.level == 1).all()
    place = np.argsort(np.argsort(-matrix.T, axis=1), axis=1)
    single = video_to_text(MatrixScores(matrix), truth).single
    assert single.above.tolist() == [place[i, truth == i].min() for i in range(num_videos)]


@settings(deadline=None)
@given(
    owners=st.lists(st.integers(0, 9), min_size=1, max_size=40),
    kinds=st.lists(st.integers(0, 5), min_size=10, max_size=15),
    side=st.integers(1, 9),
)
def test_own_scores_lie_in_tiles_of_the_diagonal(owners: list[int], kinds: list[int], side: int) -> None:
    truth, first = np.array(owners, np.int64), np.array([kinds.index(kind) for kind in kinds])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grid, "_TILE_SIDE", side)
        patch.setattr(grid, "_LEAST_ROWS", 1)
        laid = Grid.of(truth, first)
    assert sorted(laid.videos.tolist()) == list(range(len(kinds)))
    assert sorted(laid.captions.tolist()) == list(range(len(owners)))
    strips_of: dict[int, list[list[int]]] = {}
    place = caption = 0
    for span in laid.spans:
        assert (span.videos.start, span.captions.start) == (place, caption)
        place, caption = span.videos.stop, span.captions.stop
        videos, captions = laid.videos[span.videos], laid.captions[span.captions]
        np.testing.assert_array_equal(videos[laid.owners(span)], truth[captions])
        assert len(videos) == 1 or len(videos) * max(len(captions), len(videos)) <= side**2
        for kind in np.unique(first[videos]).tolist():
            strips_of.setdefault(kind, []).append(np.unique(first[videos]).tolist())
    assert (place, caption) == (len(kinds), len(owners))
    assert all(len(strips) == 1 or strips == [[kind]] * len(strips) for kind, strips in strips_of.items())


def test_progress_adds_up_to_all_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grid, "_TILE_SIDE", 3)
    told: list[int] = []
    scores, truth = MatrixScores(np.ones((10, 5), np.float32)), np.array([4] * 9 + [1])
    text_to_video(scores, truth, told.append)
    assert len(told) > 1
    assert sum(told) == 10
    told.clear()
    both_ways(scores, truth, told.append)
    assert sum(told) == 12  # and videos 1 and 4


def test_the_scores_of_a_tile_are_asked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grid, "_TILE_SIDE", 3)
    asked = np.zeros((7, 12), np.int64)

    class Counted(MatrixScores):
        def strip(self, videos: Rows) -> Strip:
            tile = super().strip(videos)

            def counted(texts: Rows) -> Tile:
                asked[np.ix_(np.arange(7)[videos], np.arange(12)[texts])] += 1
                return tile(texts)

            return counted

    both_ways(Counted(np.ones((12, 7), np.float32)), np.arange(12) % 7, gains=True)
    assert (asked == 1).all()


def test_an_own_score_that_is_nan_is_refused() -> None:
    matrix = np.ones((3, 3), np.float32)
    matrix[1, 1] = np.nan
    with pytest.raises(ValueError, match=r"own scores of 1 of 3 queries are NaN \(the first: 1\)"):
        text_to_video(MatrixScores(matrix), np.arange(3))
    with pytest.raises(ValueError, match=r"own scores of 1 of 3 queries are NaN \(the first: 1\)"):
        video_to_text(MatrixScores(matrix), np.arange(3))


Rank = Callable[[MatrixScores, Ints], object]


@pytest.mark.parametrize("rank", [text_to_video, both_ways])
@pytest.mark.parametrize(
    ("num_videos", "truth", "message"),
    [
        (8, np.arange(7), r"truth must be int64 of shape \(8,\).* got int64, \(7,\)"),
        (8, np.arange(8.0), "got float64"),
        (5, np.arange(8), r"0\.\.4, but 3 of 8 captions do not: caption 5 says 5"),
        (8, np.arange(8) - 1, "1 of 8 captions do not: caption 0 says -1"),
    ],
)
def test_a_wrong_truth_is_refused(rank: Rank, num_videos: int, truth: Ints, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rank(MatrixScores(np.ones((8, num_videos), np.float32)), truth)


@pytest.mark.parametrize(
    ("above", "level", "message"),
    [
        ([], [], "one entry a query"),
        ([0, 1], [1], r"got shapes \(2,\) and \(1,\)"),
        ([-1], [1], r"outside of 1\.\.3"),
        ([0], [0], r"outside of 1\.\.3"),
        ([2], [2], r"outside of 1\.\.3"),
    ],
)
def test_impossible_counts_are_refused(above: list[int], level: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RankCounts(np.array(above, np.int64), np.array(level, np.int64), num_candidates=3)
