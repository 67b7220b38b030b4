"""Scores by the best frames against the definition, video by video and frame by frame."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.evaluation import grid
from pipeline.evaluation.ranking import text_to_video
from pipeline.evaluation.scores import tiles
from pipeline.evaluation.scores.dot import DotScores
from pipeline.evaluation.scores.frames import FrameScores
from tests.retrieval_cases import Floats, unit_rows, video_to_text

ALL = slice(0, None)


def plain_scores(text: Floats, frame: Floats, k: int) -> Floats:
    """The definition, in float64."""
    scores = np.empty((len(text), len(frame)))
    for video, frames in enumerate(frame.astype(np.float64)):
        real = frames[~np.isnan(frames).any(axis=1)]
        products = text @ (real / np.linalg.norm(real, axis=1, keepdims=True)).T
        scores[:, video] = np.sort(products, axis=1)[:, ::-1][:, :k].mean(axis=1)
    return scores.astype(np.float32)


def random_frames(rng: np.random.Generator, num_videos: int, num_frames: int, dim: int) -> Floats:
    """Of any norm, and some missing, anywhere, but not all of a video."""
    frame = rng.standard_normal((num_videos, num_frames, dim)).astype(np.float32) * rng.uniform(0.1, 9)
    missing = rng.random((num_videos, num_frames)) < rng.choice([0, 0.3, 0.8])
    missing[np.arange(num_videos), rng.integers(0, num_frames, num_videos)] = False
    frame[missing] = np.nan
    return frame.astype(np.float32)


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**32),
    k=st.integers(1, 7),
    num_frames=st.integers(1, 6),
    tile=st.sampled_from([1, 30, 2**22]),
    rows=st.integers(1, 9),
)
def test_it_is_its_definition(seed: int, k: int, num_frames: int, tile: int, rows: int) -> None:
    rng = np.random.default_rng(seed)
    num_texts, num_videos, dim = (int(rng.integers(1, 20)) for _ in range(3))
    text, frame = unit_rows(rng, num_texts, dim), random_frames(rng, num_videos, num_frames, dim)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiles, "_TILE_SCORES", tile)
        scores = FrameScores(text, frame, k)
        of_texts, of_videos = scores.of_texts(slice(0, rows)), scores.of_videos(slice(0, rows))
    expected = plain_scores(text, frame, k)
    assert of_texts.dtype == of_videos.dtype == np.float32
    np.testing.assert_allclose(of_texts, expected[:rows], atol=2e-6)
    np.testing.assert_allclose(of_videos, expected.T[:rows], atol=2e-6)


def test_all_frames_are_the_mean_of_unit_frames() -> None:
    rng = np.random.default_rng(0)
    text, frame = unit_rows(rng, 40, 64), random_frames(rng, 30, 5, 64)
    mean = np.nanmean(frame / np.linalg.norm(frame, axis=2, keepdims=True), axis=1)
    for k in (5, 99):
        np.testing.assert_allclose(FrameScores(text, frame, k).of_texts(ALL), text @ mean.T, atol=1e-6)


def test_worked_by_hand() -> None:
    text = np.eye(3, dtype=np.float32)
    lacking = [np.nan] * 3
    frame = np.array([[[2, 0, 0], [0, 5, 0], [-1, 0, 0]], [lacking, [3, 4, 0], lacking]], np.float32)
    best = FrameScores(text, frame, 1)
    assert best.of_texts(ALL) == pytest.approx(np.array([[1, 0.6], [1, 0.8], [0, 0]]))
    two = FrameScores(text, frame, 2)
    assert two.of_texts(ALL) == pytest.approx(np.array([[0.5, 0.6], [0.5, 0.8], [0, 0]]))
    assert two.of_videos(ALL) == pytest.approx(two.of_texts(ALL).T)
    assert text_to_video(two, np.array([0, 1, 1])).above.tolist() == [1, 0, 0]


def test_a_lacking_frame_is_no_frame_like_another() -> None:
    """Found by hypothesis: what stood in for it made two videos equal."""
    frame = np.array([[[-1], [1]], [[-1], [np.nan]]], np.float32)
    assert FrameScores(np.ones((1, 1), np.float32), frame, 1).of_texts(ALL).tolist() == [[1, -1]]


@pytest.mark.parametrize("seed", range(12))
def test_equal_rows_tie_exactly(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grid, "_TILE_SIDE", int(np.random.default_rng(seed).integers(1, 99)))
    rng = np.random.default_rng(seed)
    num_texts, num_videos, dim = int(rng.integers(30, 300)), int(rng.integers(30, 900)), int(rng.choice([3, 17, 512]))
    text, frame = unit_rows(rng, num_texts, dim), random_frames(rng, num_videos, 4, dim)
    equal = np.unique(rng.integers(0, num_videos, 6))
    frame[equal] = frame[equal[0]]
    same = np.unique(rng.integers(0, num_texts, 6))
    text[same] = text[same[0]]
    scores = FrameScores(text, frame, 2)
    of_texts, of_videos = scores.of_texts(ALL)[:, equal], scores.of_videos(ALL)[:, same]
    assert (of_texts == of_texts[:, :1]).all()
    assert (of_videos == of_videos[:, :1]).all()
    assert (text_to_video(scores, np.full(num_texts, equal[0])).level >= len(equal)).all()
    found = video_to_text(scores, np.where(np.isin(np.arange(num_texts), same), np.arange(num_texts) % num_videos, 0))
    assert found.single.level.max() >= len(same)


def test_one_frame_ranks_as_videos_do() -> None:
    rng = np.random.default_rng(1)
    text, video, truth = unit_rows(rng, 300, 16), unit_rows(rng, 200, 16), rng.integers(0, 200, 300)
    one = text_to_video(FrameScores(text, 3 * video[:, None], 3), truth)
    np.testing.assert_array_equal(one.above, text_to_video(DotScores(text, video), truth).above)


def broken(value: float) -> Floats:
    frame = np.ones((3, 2, 4), np.float32)
    frame[1, 0] = value
    return frame


@pytest.mark.parametrize(
    ("frame", "k", "message"),
    [
        (broken(1), 0, "k must be at least 1, got 0"),
        (broken(1)[0], 1, r"got \(2, 4\)"),
        (broken(1)[:, :0], 1, r"at least one of each, got \(3, 0, 4\)"),
        (broken(1)[:, :, :3], 1, "one dim, got 4 and 3"),
        (broken(1).astype(np.float64), 1, "frame embeddings must be float32"),
        (broken(np.inf), 1, r"frame embeddings: 1 of 6 rows are NaN, infinite or too large \(rows 2\)"),
        (broken(0), 1, r"frame embeddings: 1 of 6 rows are zero or vanishing \(rows 2\)"),
        (broken(np.nan)[1:, :1], 1, r"1 of 2 videos have no frame \(the first: 0\)"),
    ],
)
def test_refusals(frame: Floats, k: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FrameScores(np.ones((2, 4), np.float32), frame, k)


def test_a_frame_that_is_partly_nan_is_refused() -> None:
    frame = broken(1)
    frame[2, 1, 3] = np.nan
    with pytest.raises(ValueError, match=r"1 of 6 rows are NaN, infinite or too large \(rows 5\)"):
        FrameScores(np.ones((2, 4), np.float32), frame, 1)
