"""Scores by attention over frames and by the best shot, against their definitions; and how a value is chosen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.evaluation import frame_pooling, grid
from pipeline.evaluation.evaluate import evaluate
from pipeline.evaluation.frame_pooling import TEMPERATURES, FramePooling, best_value, candidates_of
from pipeline.evaluation.options import EvalOptions
from pipeline.evaluation.ranking import text_to_video
from pipeline.evaluation.scores import tiles
from pipeline.evaluation.scores.attention import AttentionScores
from pipeline.evaluation.scores.frames import FrameScores
from pipeline.evaluation.scores.pooling import pool_frames
from pipeline.evaluation.scores.shots import neighbour_distances, shot_features
from store.errors import NotInStoreError
from store.features import Features
from tests.frame_stores import frame_store
from tests.pipeline.evaluation.scores.test_frame_scores import ALL, random_frames
from tests.retrieval_cases import Floats, unit_rows, video_to_text


def real_frames(frames: Floats) -> Floats:
    """Those that there are, at unit norm, in float64."""
    real = frames[~np.isnan(frames).any(axis=1)].astype(np.float64)
    units: Floats = real / np.linalg.norm(real, axis=1, keepdims=True)
    return units


def plain_attention(text: Floats, frame: Floats, temperature: float) -> Floats:
    """The definition, pair by pair."""
    scores = np.empty((len(text), len(frame)))
    for video, frames in enumerate(frame):
        real = real_frames(frames)
        for row, one in enumerate(text.astype(np.float64)):
            weights = np.exp((real @ one - (real @ one).max()) / temperature)
            mean = (weights / weights.sum()) @ real
            scores[row, video] = mean @ one / np.linalg.norm(mean)
    return scores.astype(np.float32)


def plain_best_shot(text: Floats, frame: Floats, distance: float) -> Floats:
    """The definition, frame by frame."""
    scores = np.empty((len(text), len(frame)))
    for video, frames in enumerate(frame):
        shots: list[list[Floats]] = []
        for one in real_frames(frames):
            if shots and 1 - shots[-1][-1] @ one <= distance:
                shots[-1].append(one)
            else:
                shots.append([one])
        means = np.array([np.sum(shot, axis=0) for shot in shots])
        scores[:, video] = (text @ (means / np.linalg.norm(means, axis=1, keepdims=True)).T).max(axis=1)
    return scores.astype(np.float32)


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32),
    temperature=st.sampled_from([0.01, 0.1, 1.0, 100.0]),
    tile=st.sampled_from([1, 30, 2**22]),
    rows=st.integers(1, 9),
)
def test_attention_is_its_definition(seed: int, temperature: float, tile: int, rows: int) -> None:
    rng = np.random.default_rng(seed)
    num_texts, num_videos, num_frames = (int(rng.integers(1, top)) for top in (20, 20, 7))
    text, frame = unit_rows(rng, num_texts, 12), random_frames(rng, num_videos, num_frames, 12)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiles, "_TILE_SCORES", tile)
        scores = AttentionScores(text, frame, temperature)
        of_texts, of_videos = scores.of_texts(slice(0, rows)), scores.of_videos(slice(0, rows))
    expected = plain_attention(text, frame, temperature)
    assert of_texts.dtype == of_videos.dtype == np.float32
    np.testing.assert_allclose(of_texts, expected[:rows], atol=2e-5)
    np.testing.assert_allclose(of_videos, expected.T[:rows], atol=2e-5)


def test_attention_lies_between_the_mean_and_the_best_frame() -> None:
    rng = np.random.default_rng(0)
    text, frame = unit_rows(rng, 40, 64), random_frames(rng, 30, 5, 64)
    mean = text @ pool_frames(frame, "unit-mean").T
    np.testing.assert_allclose(AttentionScores(text, frame, 1e4).of_texts(ALL), mean, atol=1e-4)
    best = FrameScores(text, frame, 1).of_texts(ALL)
    np.testing.assert_allclose(AttentionScores(text, frame, 1e-6).of_texts(ALL), best, atol=1e-3)


def test_frames_that_cancel_each_other_out_score_nothing() -> None:
    frame = np.array([[[1, 0], [-1, 0]]], np.float32)
    assert AttentionScores(np.array([[0, 1]], np.float32), frame, 1.0).of_texts(ALL).tolist() == [[0.0]]


@pytest.mark.parametrize("seed", range(6))
def test_equal_rows_tie_exactly(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grid, "_TILE_SIDE", int(np.random.default_rng(seed).integers(1, 99)))
    rng = np.random.default_rng(seed)
    num_texts, num_videos, dim = int(rng.integers(30, 200)), int(rng.integers(30, 400)), int(rng.choice([3, 17, 256]))
    text, frame = unit_rows(rng, num_texts, dim), random_frames(rng, num_videos, 4, dim)
    equal, same = np.unique(rng.integers(0, num_videos, 6)), np.unique(rng.integers(0, num_texts, 6))
    frame[equal], text[same] = frame[equal[0]], text[same[0]]
    for scores in (AttentionScores(text, frame, 0.1), FramePooling("best-shot", 0.8).scores(text, frame)):
        of_texts, of_videos = scores.of_texts(ALL)[:, equal], scores.of_videos(ALL)[:, same]
        assert (of_texts == of_texts[:, :1]).all()
        assert (of_videos == of_videos[:, :1]).all()
        assert (text_to_video(scores, np.full(num_texts, equal[0])).level >= len(equal)).all()
        truth = np.where(np.isin(np.arange(num_texts), same), np.arange(num_texts) % num_videos, 0)
        assert video_to_text(scores, truth).single.level.max() >= len(same)


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 2**32), distance=st.sampled_from([-1.0, 0.3, 0.8, 1.0, 1.2, 2.0]))
def test_best_shot_is_its_definition(seed: int, distance: float) -> None:
    rng = np.random.default_rng(seed)
    num_texts, num_videos, num_frames = (int(rng.integers(1, top)) for top in (20, 20, 7))
    text, frame = unit_rows(rng, num_texts, 12), random_frames(rng, num_videos, num_frames, 12)
    found = FramePooling("best-shot", distance).scores(text, frame).of_texts(ALL)
    np.testing.assert_allclose(found, plain_best_shot(text, frame, distance), atol=2e-5)


def test_shots_from_one_a_video_to_one_a_frame() -> None:
    frame = random_frames(np.random.default_rng(1), 20, 6, 8)
    np.testing.assert_allclose(shot_features(frame, 2.0)[:, 0], pool_frames(frame, "unit-mean"), atol=1e-6)
    every = shot_features(frame, -1.0)
    assert (~np.isnan(every).any(axis=2)).sum() == (~np.isnan(frame).any(axis=2)).sum()
    num_shots = [(~np.isnan(shot_features(frame, one)).any(axis=2)).sum() for one in (-1, 0.5, 0.9, 1.1, 2)]
    assert num_shots == sorted(num_shots, reverse=True)


def test_distances_are_of_neighbours_that_are_there() -> None:
    lacking = [np.nan, np.nan]
    frame = np.array([[[1, 0], [0, 2], lacking], [[3, 0], lacking, [1, 0]], [[1, 1], lacking, lacking]], np.float32)
    assert neighbour_distances(frame) == pytest.approx([1, 0])
    assert shot_features(frame, 0.5)[1, 0].tolist() == [1, 0]
    assert neighbour_distances(frame[:, :1]).size == 0


def glimpses(rng: np.random.Generator, num_videos: int) -> tuple[Features, Floats]:
    """Videos of twelve frames, one of which is like its caption; the others are like nothing."""
    text = unit_rows(rng, num_videos, 64)
    frame = rng.standard_normal((num_videos, 12, 64)).astype(np.float32)
    frame /= np.linalg.norm(frame, axis=2, keepdims=True)
    frame[np.arange(num_videos), rng.integers(0, 12, num_videos)] = text + 0.1 * unit_rows(rng, num_videos, 64)
    ids, rows = tuple(map(str, range(num_videos))), np.arange(num_videos)
    return Features(
        video_ids=ids,
        video=pool_frames(frame, "mean"),
        caption_ids=ids,
        text=text,
        truth=rows,
        num_dropped=np.zeros(num_videos, np.int64),
        num_videos_expected=num_videos,
        missing_video_ids=(),
        num_captions_expected=num_videos,
        alpha_cosine=np.full(num_videos, np.nan, np.float32),
        attributes={},
    ), frame


@pytest.mark.parametrize("rule", ["attention", "best-shot", "best-frames"])
def test_the_chosen_value_finds_what_one_frame_shows(rule: str) -> None:
    features, frame = glimpses(np.random.default_rng(2), 60)
    candidates = candidates_of(rule, frame)
    chosen = best_value(rule, candidates, features, frame)
    other, its_frame = glimpses(np.random.default_rng(3), 60)

    def r1(value: float) -> float:
        counts = text_to_video(FramePooling(rule, value).scores(other.text, its_frame), other.truth)
        return float((counts.above + counts.level == 1).mean())

    assert r1(chosen) > r1(candidates[0]) + 0.1  # the first candidate treats all frames the same
    assert chosen in candidates


def test_of_equally_good_values_the_first_is_chosen() -> None:
    features, frame = glimpses(np.random.default_rng(4), 1)
    assert best_value("attention", candidates_of("attention", frame), features, frame) == TEMPERATURES[0]


def test_candidates() -> None:
    frame = random_frames(np.random.default_rng(5), 9, 4, 8)
    distances = candidates_of("best-shot", frame)
    assert distances[0] == 2.0
    assert distances[-1] == -1.0
    assert list(distances) == sorted(distances, reverse=True)
    assert candidates_of("best-shot", np.ones((3, 1, 8), np.float32)) == (2.0, -1.0)
    assert candidates_of("best-frames", frame) == (4.0, 3.0, 2.0, 1.0)
    with pytest.raises(ValueError, match="rule must be one of attention, best-shot, best-frames, got 'mean'"):
        FramePooling("mean", 1)


def test_a_value_is_chosen_on_another_split_of_the_store(tmp_path: Path) -> None:
    splits = {split: glimpses(np.random.default_rng(seed), 12) for seed, split in enumerate(("val", "test"))}
    store = frame_store(tmp_path, {split: (features.text, frame) for split, (features, frame) in splits.items()})
    options = EvalOptions(pooling="attention")
    found = evaluate(store, "mine", options)
    mean = evaluate(store, "mine", EvalOptions(pooling="unit-mean"))
    assert found.pooling.startswith("attention (temperature ")
    assert found.pooling.endswith("), chosen on val")
    assert found.metrics.text_to_video.r1 >= mean.metrics.text_to_video.r1
    given_value = evaluate(store, "mine", replace(options, temperature=0.05))
    assert given_value.pooling == "attention (temperature 0.05)"
    with pytest.raises(NotInStoreError, match=r"chooses its value on split 'train' \(--choose-split\), or takes one"):
        evaluate(store, "mine", replace(options, choose_split="train"))


def test_of_values_with_one_r1_the_best_mean_rank_is_chosen_and_of_equals_the_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = iter([SimpleNamespace(r1=r1, mean_rank=rank) for r1, rank in ((50, 3), (50, 2), (50, 2), (40, 1))])
    monkeypatch.setattr(frame_pooling, "text_to_video", lambda scores, truth: None)
    monkeypatch.setattr(frame_pooling, "metrics_of", lambda counts, ties: next(found))
    features, frame = glimpses(np.random.default_rng(6), 2)
    assert best_value("attention", (100.0, 1.0, 0.1, 0.01), features, frame) == 1.0
