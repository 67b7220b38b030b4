"""Several evaluations an epoch, the window by which weights are chosen, and a split that is only watched."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import pipeline.training.loop
from encoders.training.options import TrainOptions
from encoders.weights.loading import load_checkpoint, load_model
from pipeline.errors import InputError
from pipeline.run.events import ignore_events
from pipeline.training.checkpoint import TrainingHistory
from pipeline.training.evaluations import evaluation_steps, window_mean
from pipeline.training.finetune import train_model
from pipeline.training.loop import Scores
from pipeline.training.options import BatchOptions, TrainingRecipe
from store.store import Store
from tests.clips_on_disk import run_preprocess, write_small_dataset
from tests.encoders_tiny import write_config

ALL = BatchOptions("all", "negatives")
RECIPE = TrainingRecipe(TrainOptions(epochs=2, batch_size=2, lr=1e-3, alpha_lr=1e-3, evaluations=3, window=2), ALL)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("data")
    return run_preprocess(write_small_dataset(folder, {"train": 6, "val": 3, "test": 3}), folder / "store")


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_config(tmp_path_factory.mktemp("model"))


def train(store: Store, config: str, folder: Path, recipe: TrainingRecipe = RECIPE) -> TrainingHistory:
    return train_model(store, load_model(config, "none", None, seed=0), folder, recipe, ignore_events)


@given(st.integers(1, 5000), st.integers(1, 50))
def test_steps_of_evaluations_are_those_of_x_pool(num_steps: int, evaluations: int) -> None:
    steps = evaluation_steps(num_steps, evaluations)
    # xpool's trainer.py: `if batch_idx in eval_steps`, with batch_idx from 0
    theirs = np.linspace(0, num_steps - 1, evaluations + 1, dtype=int)[1:]
    assert [step - 1 for step in steps] == [place for place in range(num_steps) if place in theirs]
    assert steps[-1] == num_steps
    assert len(steps) == min(evaluations, num_steps) or num_steps <= 2 * evaluations


@given(st.lists(st.floats(0, 100), min_size=1), st.integers(1, 8))
def test_a_window_is_a_queue_of_the_last_scores(scores: list[float], window: int) -> None:
    assert window_mean(scores, window) == pytest.approx(np.mean(scores[-window:]), abs=1e-9)


def test_the_best_mean_of_the_window_is_kept(
    store: Store, config: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # means of two: 30, 50, 55, 30, 35, 60; of the third and the last one the last is better
    scores = iter(map(Scores, [30.0, 70.0, 40.0, 20.0, 50.0, 70.0]))
    monkeypatch.setattr(pipeline.training.loop, "scores_of", lambda *arguments: next(scores))
    history = train(store, config, tmp_path)
    assert [one.step for one in history.evaluations] == [2, 4, 6, 8, 10, 12]
    assert [one.epoch for one in history.evaluations] == [1, 1, 1, 2, 2, 2]
    assert [one.window_r1 for one in history.evaluations] == [30.0, 50.0, 55.0, 30.0, 35.0, 60.0]
    assert [one.is_best for one in history.evaluations] == [True, True, True, False, False, True]
    assert (history.best_evaluation, history.best_epoch, history.best_validation_r1) == (6, 2, 70.0)
    metadata = load_checkpoint(tmp_path).metadata
    assert (metadata["evaluation"], metadata["step"], metadata["window_r1"]) == (6, 12, 60.0)


def test_a_split_that_is_watched_is_recorded_and_chooses_nothing(store: Store, config: str, tmp_path: Path) -> None:
    plain = train(store, config, tmp_path / "plain")
    watched = train(store, config, tmp_path / "watched", replace(RECIPE, watch_split="test"))
    assert [one.validation_r1 for one in plain.evaluations] == [one.validation_r1 for one in watched.evaluations]
    assert plain.best_evaluation == watched.best_evaluation
    first, second = (load_checkpoint(tmp_path / name).model.named_tensors() for name in ("plain", "watched"))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not watched.chosen_on_test
    history = json.loads((tmp_path / "watched/history.json").read_text())
    assert history["watch_split"] == "test"
    for one in history["evaluations"]:
        assert 0 <= one["watched_t2v_r1"] <= 100
        assert 0 <= one["watched_v2t_r1"] <= 100
    logged = [json.loads(line) for line in (tmp_path / "watched/log.jsonl").read_text().splitlines()]
    assert sum("watched_t2v_r1" in line for line in logged) == len(watched.evaluations)
    run = json.loads((tmp_path / "watched/training.json").read_text())
    assert run["validation"]["watched, not chosen by"] == "test"
    assert plain.evaluations[0].watched_t2v_r1 is None


@pytest.mark.parametrize("split", ["train", "val"])
def test_what_is_trained_or_chosen_on_cannot_be_only_watched(
    store: Store, config: str, tmp_path: Path, split: str
) -> None:
    with pytest.raises(InputError, match=f"split '{split}' is trained on or chosen by, so it cannot be only watched"):
        train(store, config, tmp_path, replace(RECIPE, watch_split=split))


@pytest.mark.parametrize("jitter", [0, 6])
def test_other_captions_of_a_video_as_negatives_are_another_loss_if_its_clips_differ(
    store: Store, config: str, tmp_path: Path, jitter: int
) -> None:
    """Of equal clips, each pair's own part of the softmax is the other's, too: the sums over the batch are the same."""
    losses = {}
    for same_video in ("together", "negatives"):
        batches = BatchOptions("all", same_video, frame_jitter=jitter)
        recipe = replace(RECIPE, batches=batches, train=replace(RECIPE.train, batch_size=12, epochs=1))
        train(store, config, tmp_path / same_video, recipe)
        line = (tmp_path / same_video / "log.jsonl").read_text().splitlines()[0]
        losses[same_video] = json.loads(line)["loss"]
    assert (losses["negatives"] == pytest.approx(losses["together"], rel=1e-6)) == (jitter == 0)
