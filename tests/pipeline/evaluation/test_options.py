"""Options and names of evaluation: what they refuse, that they are those of the code, and that they load at once."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields
from typing import Any

import pytest

from encoders.options import Pooling
from pipeline.evaluation.metrics import RetrievalMetrics, RetrievalResult
from pipeline.evaluation.names import DIRECTIONS, METRICS, POOLINGS
from pipeline.evaluation.options import EvalOptions
from tests.paths import ROOT

HEAVY = {"numpy", "scipy", "pyarrow", "zarr", "torch", "dask", "store"}


def test_options_load_no_heavy_library() -> None:
    """For their choices, `fda eval --help` and `fda compare --help` import these three (and `encoders.options`)."""
    program = (
        "import sys\n"
        "import pipeline.evaluation.names, pipeline.evaluation.options, pipeline.evaluation.protocols\n"
        f"loaded = {HEAVY!r} & set(sys.modules)\n"
        "sys.exit(f'loaded: {loaded}' if loaded else 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_names_are_those_of_the_code() -> None:
    """Those of slices are compared with `slice_queries` in test_slices.py."""
    assert tuple(field.name for field in fields(RetrievalResult)) == DIRECTIONS
    assert set(METRICS) < {field.name for field in fields(RetrievalMetrics)}
    assert tuple(map(str, Pooling)) == POOLINGS


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"protocol": "mine"}, "there is no protocol 'mine': there are fda, clip4clip"),
        ({"pooling": "max"}, "pooling must be mean, unit-mean, attention, best-shot or best-frames, got 'max'"),
        ({"pooling": "attention", "top_frames": 2}, "either pooled into videos"),
        ({"pooling": "attention", "temperature": 0.0}, "temperature must be above 0, got 0.0"),
        ({"pooling": "attention", "temperature": float("nan")}, "temperature must be above 0, got nan"),
        ({"pooling": "mean", "temperature": 1.0}, "temperature is for --pooling attention"),
        ({"pooling": "attention", "shot_distance": 1.0}, "shot_distance is for --pooling best-shot"),
        ({"pooling": "best-shot", "shot_distance": 3.0}, r"in -2\.\.2 .*, got 3\.0"),
        ({"pooling": "best-shot", "bank_split": "train"}, "leave --top-frames and --pooling by frames out"),
        ({"pooling": "best-frames", "split": "val"}, "must not be chosen on the split that is scored"),
        ({"pooling": "mean", "top_frames": 2}, "either pooled into videos"),
        ({"bank_split": "train", "top_frames": 2}, "leave --top-frames and"),
        ({"bank_split": "test"}, "must not be of the split that is scored"),
    ],
)
def test_wrong_options_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EvalOptions(**wrong)
