"""Hubs, the modality gap, histograms and confusions, worked by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cli.output.diagnostics import print_diagnostics
from pipeline.evaluation import grid
from pipeline.evaluation.diagnostics import (
    Diagnostics,
    DiagnosticsOptions,
    Hub,
    RankHistogram,
    diagnose,
    hubness,
    modality_gap,
)
from pipeline.evaluation.ranking import RankCounts
from pipeline.evaluation.scores import backend
from pipeline.evaluation.scores.dot import DotScores
from pipeline.evaluation.top_candidates import best_of, top_texts, top_videos
from pipeline.run.events import Event, ItemsDone, Listener, RunPlanned, ignore_events
from store.features import Features, read_features
from tests.retrieval_cases import Case, MatrixScores, tied_cases
from tests.sliced import Known, known_ranking, known_store

# Four videos; the captions of video 1 find video 0 first, and the second of them its own next.
VIDEO = np.eye(4)
TEXT = np.array([[1, 0, 0, 0], [0.8, 0, 0.6, 0], [0.8, 0.6, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
TRUTH = np.array([0, 1, 1, 2, 3])
KNOWN = [Known(["one"]), Known(["two", "zwei"]), Known(["three"]), Known(["four"])]


@pytest.fixture
def features(tmp_path: Path) -> Features:
    return read_features(known_store(tmp_path / "store", KNOWN, VIDEO, TEXT), "mine", "test")


def diagnosed(
    place: Path, k: int = 10, num_confusions: int | None = 20, listener: Listener = ignore_events
) -> Diagnostics:
    store = known_store(place, KNOWN, VIDEO, TEXT)
    ranking, scores = known_ranking(store)
    return diagnose(store, ranking, scores, "test", DiagnosticsOptions(k, num_confusions), listener=listener)


def test_hubness_by_hand(features: Features) -> None:
    """First videos of the captions: 0 0 0 2 3. So N_1 = 3, 0, 1, 1: mean 1.25, apart 1.75, -1.25, -0.25, -0.25."""
    found = hubness(np.array([[0], [0], [0], [2], [3]]), features)
    variance = (1.75**2 + 1.25**2 + 2 * 0.25**2) / 4
    assert found.skewness == pytest.approx((1.75**3 - 1.25**3 - 2 * 0.25**3) / 4 / variance**1.5)
    assert found.anti_hub_share == 0.25
    assert found.hubs == (Hub("-v_0", 3, 1), Hub("-v_2", 1, 1), Hub("-v_3", 1, 1), Hub("-v_1", 0, 0))
    assert found.k == 1


def test_hubness_where_all_are_found_alike(features: Features) -> None:
    found = hubness(np.tile(np.arange(4), (5, 1)), features)
    assert (found.skewness, found.anti_hub_share) == (0.0, 0.0)
    assert found.hubs[1] == Hub("-v_1", 5, 2)


def test_modality_gap_by_hand(features: Features) -> None:
    """Means: texts (2.6, 0.6, 1.6, 1) / 5, videos (1, 1, 1, 1) / 4; rows of another length count as unit ones."""
    doubled = replace(features, text=2 * features.text, video=3 * features.video)
    for one in (features, doubled):
        gap = modality_gap(one)
        assert gap.distance == pytest.approx(
            np.linalg.norm(np.array([2.6, 0.6, 1.6, 1]) / 5 - np.ones(4) / 4), abs=1e-6
        )
        assert gap.matched_cosine == pytest.approx((1 + 0 + 0.6 + 1 + 1) / 5, abs=1e-6)
        assert gap.other_cosine == pytest.approx((0 + 1.4 + 0.8 + 0 + 0) / 15, abs=1e-6)


def test_a_single_video_has_no_other(features: Features) -> None:
    alone = replace(features, video=features.video[:1], video_ids=("a",), truth=np.zeros(5, np.int64))
    assert modality_gap(alone).other_cosine is None


@given(st.integers(1, 70), st.integers(0, 1000))
def test_histograms_count_every_query_once(num_candidates: int, seed: int) -> None:
    above = np.random.default_rng(seed).integers(0, num_candidates, 30)
    histogram = RankHistogram.of(RankCounts(above, np.ones(30, np.int64), num_candidates))
    assert sum(histogram.counts) == 30
    covered = [rank for low, high in zip(histogram.first, histogram.last, strict=True) for rank in range(low, high + 1)]
    assert covered == list(range(1, num_candidates + 1))
    for low, high, count in zip(histogram.first, histogram.last, histogram.counts, strict=True):
        assert count == int(((above + 1 >= low) & (above + 1 <= high)).sum())


def test_confusions_by_hand(tmp_path: Path) -> None:
    """Caption `two` has its own video at 0, level with video 3: rank 4, after 0.8 and 0.6."""
    found = diagnosed(tmp_path, k=3)
    assert found.num_missed == 2
    two, zwei = found.confusions
    assert (two.caption_id, two.text, two.video_id, two.rank, two.own_score) == ("c1", "two", "-v_1", 4, 0.0)
    assert [video.video_id for video in two.retrieved] == ["-v_0", "-v_2", "-v_1"]
    assert (zwei.text, zwei.rank) == ("zwei", 2)
    assert zwei.own_score == pytest.approx(0.6)
    assert [(video.video_id, video.is_own) for video in zwei.retrieved[:2]] == [("-v_0", False), ("-v_1", True)]
    assert [video.score for video in zwei.retrieved[:2]] == pytest.approx([0.8, 0.6])
    assert found.text_to_video.counts == (3, 1, 1)
    assert found.video_to_text.counts == (4, 0, 0)
    assert found.to_dict()["num_missed"] == 2


def test_as_many_confusions_as_asked_for(tmp_path: Path) -> None:
    found = diagnosed(tmp_path / "a", num_confusions=1)
    assert (len(found.confusions), found.num_missed) == (1, 2)
    assert found.hubness.k == 4  # there are no ten
    with pytest.raises(ValueError, match="num_shown must be in 1..k = 2, got 3"):
        diagnosed(tmp_path / "b", k=2)


def test_progress_is_reported(tmp_path: Path) -> None:
    events: list[Event] = []
    diagnosed(tmp_path, listener=events.append)
    assert events[0] == RunPlanned("queries", 5, 0)
    assert sum(event.num_done for event in events if isinstance(event, ItemsDone)) == 5


def test_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    print_diagnostics(diagnosed(tmp_path, k=3))
    out = capsys.readouterr().out
    assert "mean cosine of a caption and its video             0.720" in out
    assert "3 to 4         1   20.0%       100.0%" in out
    assert "the worst 2 of 2 captions whose video is not first" in out
    assert "  rank 4  'two'  -v_1 0.000; first: -v_0 0.800, -v_2 0.600, -v_1 0.000 (its own)" in out


@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 15), st.integers(0, 1000))
def test_best_of_is_the_start_of_a_sorted_row(num_rows: int, num_columns: int, k: int, seed: int) -> None:
    similarity = np.random.default_rng(seed).integers(0, 4, (num_rows, num_columns)).astype(np.float32)
    items, scores = best_of(similarity, k)
    expected = np.argsort(-similarity, axis=1, kind="stable")[:, :k]
    np.testing.assert_array_equal(items, expected)
    np.testing.assert_array_equal(scores, np.take_along_axis(similarity, expected, axis=1))


@pytest.mark.parametrize("top", [top_videos, top_texts])
def test_top_candidates_refuse(top: Callable[[MatrixScores, NDArray[np.int64], int], object]) -> None:
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        top(MatrixScores(np.ones((1, 1), np.float32)), np.zeros(1, np.int64), 0)
    with pytest.raises(ValueError, match="1 of 2 queries have NaN scores"):
        top(MatrixScores(np.array([[1, np.nan], [1, 2]], np.float32)), np.arange(2), 1)


@settings(deadline=None)
@given(case=tied_cases(), k=st.integers(1, 9), side=st.integers(1, 9), equal=st.booleans())
def test_tiles_give_the_best_by_a_stable_sort(case: Case, k: int, side: int, *, equal: bool) -> None:
    scores = case.with_equal_videos() if equal else case.scores
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grid, "_TILE_SIDE", side)
        patch.setattr(grid, "_LEAST_ROWS", 1)
        patch.setattr(backend, "_PART_SCORES", 4 * side)
        videos, texts = top_videos(scores, case.truth, k), top_texts(scores, case.truth, k)
    owners = np.unique(case.truth)
    for found, rows in ((videos, scores.matrix), (texts, scores.matrix.T[owners])):
        np.testing.assert_array_equal(found.items, np.argsort(-rows, axis=1, kind="stable")[:, :k])
        np.testing.assert_array_equal(found.scores, np.take_along_axis(rows, found.items, axis=1))
    np.testing.assert_array_equal(videos.own, scores.matrix[np.arange(len(case.truth)), case.truth])
    own = np.where(case.truth[:, None] == owners, scores.matrix[:, owners], -np.inf)
    np.testing.assert_array_equal(texts.own, own.max(axis=0))


@pytest.mark.parametrize("put", [np.asarray, torch.from_numpy], ids=["numpy", "torch"])
def test_top_in_both_directions_and_on_both_libraries(put: object) -> None:
    scores = DotScores(TEXT.astype(np.float32), VIDEO.astype(np.float32), put)  # type: ignore[arg-type]
    videos = top_videos(scores, TRUTH, 2)
    assert videos.items.tolist() == [[0, 1], [0, 2], [0, 1], [2, 0], [3, 0]]
    assert videos.own == pytest.approx([1, 0, 0.6, 1, 1])
    texts = top_texts(scores, TRUTH, 2)
    assert texts.items.tolist() == [[0, 1], [2, 0], [3, 1], [4, 0]]
    assert texts.own == pytest.approx([1, 0.6, 1, 1])


@pytest.mark.parametrize("num_texts", [700, 1500])
def test_blocks_make_no_difference(num_texts: int) -> None:
    """More captions and videos than one block holds, some videos without a caption."""
    rng = np.random.default_rng(num_texts)
    text, video = (rng.integers(-2, 3, (rows, 5)).astype(np.float32) + 0.5 for rows in (num_texts, 600))
    truth = rng.integers(0, 600, num_texts)
    scores = DotScores(text, video)
    videos, texts = top_videos(scores, truth, 3), top_texts(scores, truth, 3)
    full = text @ video.T
    np.testing.assert_array_equal(videos.items, np.argsort(-full, axis=1, kind="stable")[:, :3])
    owners = np.unique(truth)
    np.testing.assert_array_equal(texts.items, np.argsort(-full.T[owners], axis=1, kind="stable")[:, :3])
    np.testing.assert_array_equal(videos.own, full[np.arange(num_texts), truth])
    np.testing.assert_array_equal(texts.own, [full[truth == owner, owner].max() for owner in owners])
