"""`fda.evaluate` on arrays alone, without a store."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray

import fda
from pipeline.errors import InputError, OptionError
from pipeline.evaluation.arrays import unit_rows
from tests.sliced import Known, known_store


def embeddings(num_rows: int, seed: int, dim: int = 8) -> NDArray[np.float32]:
    rows, _ = unit_rows(np.random.default_rng(seed).normal(size=(num_rows, dim)), "rows")
    return rows


def test_arrays_score_as_the_same_embeddings_in_a_store(tmp_path: Path) -> None:
    known = [Known([f"caption {video}.{number}" for number in range(1 + video % 3)], 0.1) for video in range(9)]
    truth = np.repeat(np.arange(9), [len(one.texts) for one in known])
    video, text = embeddings(9, 0), embeddings(len(truth), 1)
    known_store(tmp_path / "store", known, video, text)
    options = fda.EvalOptions(dsl_temperature=10.0)
    of_store = fda.evaluate(tmp_path / "store", "mine", options)
    of_arrays = fda.evaluate(text, video, truth, options=options)
    assert of_arrays.result.results == of_store.result.results
    assert of_arrays.result.processed == of_store.result.processed
    assert of_arrays.intervals == of_store.intervals
    columns = ["direction", "rank", "above", "level", "num_candidates", "own_score"]
    assert of_arrays.per_query().select(columns).equals(of_store.per_query().select(columns))
    assert of_arrays.to_dict()["num_videos"] == 9


def test_all_ways_to_say_which_video_a_caption_describes() -> None:
    video, text = embeddings(5, 0), embeddings(5, 1)
    expected = fda.evaluate(text, video).result.metrics
    assert fda.evaluate(text, video, np.arange(5)).result.metrics == expected
    assert fda.evaluate(text, video, [[row, row] for row in (3, 1, 4, 0, 2)]).result.metrics == expected
    assert fda.evaluate(text=text, video=video, pairs=range(5)).result.metrics == expected
    turned = fda.evaluate(text, video[::-1], np.arange(5)[::-1].copy()).result.metrics
    assert turned == expected


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int16])
def test_rows_are_scaled_and_that_is_said(dtype: type[np.generic]) -> None:
    text = np.array([[300, 0], [0, 300], [200, 250]]).astype(dtype)
    report = fda.evaluate(text, np.array([[1.0, 0.0], [0.0, 1.0]]), [0, 1, 1])
    assert report.result.metrics.text_to_video.r1 == 100
    assert [sentence.split(":")[0] for sentence in report.warnings] == [
        "3 of 3 embeddings of text were not of unit norm"
    ]
    assert text[0, 0] == 300  # the caller's array is as it was


GOOD = np.eye(3)


@pytest.mark.parametrize(
    ("text", "video", "pairs", "message"),
    [
        (GOOD[0], GOOD, None, r"text must be numbers of shape \(rows, dim\).* got float64 of shape \(3,\)"),
        (GOOD, np.empty((0, 3)), None, r"video must be numbers of shape .* got float64 of shape \(0, 3\)"),
        (np.array([["a"]]), GOOD, None, "text must be numbers"),
        (GOOD + 1j, GOOD, None, "text must be numbers"),
        (GOOD, np.eye(4), None, "text has 3 dimensions and video 4"),
        (np.full((3, 3), np.nan), GOOD, None, "text: 3 of 3 embeddings are NaN, infinite or zero"),
        (GOOD, np.diag([1, 0, np.inf]), None, r"video: 2 of 3 embeddings .*first: 1, 2\)"),
        (GOOD, GOOD[:2], None, "3 captions and 2 videos: say with `pairs`"),
        (GOOD, GOOD[:2], [0, 1, 2], r"videos in 0\.\.1, but caption 2 has video 2"),
        (GOOD, GOOD, [0, 1, -1], "but caption 2 has video -1"),
        (GOOD, GOOD, [0, 1], r"whole numbers of shape \(3,\)"),
        (GOOD, GOOD, [0.0, 1.0, 2.0], "whole numbers"),
        (GOOD, GOOD, [[0, 0], [1, 1], [1, 2]], r"each of the captions 0\.\.2 once"),
    ],
)
def test_arrays_that_cannot_be_scored(text: ArrayLike, video: ArrayLike, pairs: ArrayLike | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        fda.evaluate(text, video, pairs)


def test_what_needs_a_store_is_refused() -> None:
    with pytest.raises(OptionError, match="^top_frames, slices, diagnostics: needs a store"):
        fda.evaluate(
            GOOD,
            GOOD,
            options=fda.EvalOptions(top_frames=2),
            extras=fda.EvalExtras(slices=("motion",), diagnostics=True),
        )
    with pytest.raises(InputError, match=re.escape("protocol 'paired' cannot be applied to these arrays")):
        fda.evaluate(GOOD, GOOD, [0, 0, 1], options=replace(fda.EvalOptions(), protocol="paired"))


def test_a_row_keeps_its_direction_whatever_its_size() -> None:
    rows, num_scaled = unit_rows(np.array([[3e-30, 4e-30], [3e30, 4e30], [0.6, 0.8]]), "text")
    np.testing.assert_allclose(rows, [[0.6, 0.8]] * 3, rtol=1e-6)
    assert num_scaled == 2
