"""What is kept of a training of an experiment."""

from __future__ import annotations

import pytest

from pipeline.experiments.carry_out import training_kept
from pipeline.run.events import EvaluationDone
from pipeline.training.checkpoint import TrainingHistory


@pytest.mark.parametrize(("window", "best"), [(1, 0.5), (2, 0.4)])
def test_what_the_watched_split_would_have_chosen_is_by_the_same_window(window: int, best: float) -> None:
    """Of the third evaluation the mean over two is highest, and its own score is not."""
    watched = (10.0, 50.0, 40.0, 20.0)
    evaluations = tuple(
        EvaluationDone(number, number, 4, number, 1.0, 0.0, 0.0, number == 4, score)
        for number, score in enumerate(watched, start=1)
    )
    history = TrainingHistory(evaluations, 4, 4, 0.0, 8, 2, 0, "split 'val'", chosen_on_test=False, watch_split="test")
    kept = training_kept(history, window)
    assert (kept["watched_chosen"], kept["watched_best"]) == (0.2, best)
