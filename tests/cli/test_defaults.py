"""What is left out has one default: a command without flags calls its function with the options of Python."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import fda as api
from tests.clips_on_disk import Commands

HERE = api.RunOptions()
MODEL = api.ModelSource(model="ViT-B-32", pretrained="openai")
WEIGHTS = ("--model", "ViT-B-32", "--pretrained", "openai")


@pytest.mark.parametrize(
    ("function", "line", "expected"),
    [
        (
            "preprocess",
            ["preprocess", ".", "store"],
            [api.PreprocessOptions(), api.SourceOptions(), api.DecodingOptions(), HERE],
        ),
        ("make_masks", ["masks", "store", "--masks", "a"], [api.MaskOptions(), HERE]),
        ("import_masks", ["import-masks", "store", ".", "--masks", "a"], [api.MaskImportOptions(), HERE]),
        ("finetune", ["finetune", "store", "checkpoint"], [api.FinetuneOptions()]),
        ("encode", ["encode", "store", "--features", "a", *WEIGHTS], [api.EncodeOptions("a"), MODEL, HERE]),
        ("pool_features", ["pool", "store", "out", "--features", "a", "--to", "b"], [api.PoolOptions("a", "b")]),
        (
            "import_features",
            ["import-features", "store", "--features", "a", "--text", ".", "--video", "."],
            [api.ImportOptions("a", Path(), Path())],
        ),
        ("evaluate", ["eval", "store", "--features", "a"], [api.EvalOptions(), api.EvalExtras()]),
        ("compare", ["compare", "store", "a", "b"], [api.CompareOptions()]),
        ("export", ["export", "store", "out", "--format", "npz"], [api.ExportOptions(api.ExportFormat.NPZ)]),
        ("inspect", ["inspect", "store"], [api.InspectOptions()]),
        ("search", ["search", "store", "a dog"], [api.SearchOptions(), api.SearchFiles()]),
        ("report", ["report", "store"], [api.ReportOptions()]),
        ("serve", ["serve", "store"], [api.ServeOptions()]),
        ("experiment", ["experiment", "tau", "out"], [api.ExperimentOptions()]),
        ("generate", ["generate", "out"], [api.GenerateOptions()]),
        ("demo", ["demo", "out"], [api.DemoOptions()]),
        ("weights", ["weights", *WEIGHTS], [MODEL]),
        ("remove", ["remove", "store", "--features", "a"], [api.RemoveOptions(features=("a",))]),
    ],
)
def test_flags_and_options_have_the_same_defaults(
    fda: Commands, monkeypatch: pytest.MonkeyPatch, function: str, line: Sequence[str], expected: Sequence[object]
) -> None:
    calls: list[list[object]] = []

    def called(*arguments: object, **named: Any) -> None:
        calls.append([*arguments, *named.values()])
        raise api.PipelineError("called")

    monkeypatch.setattr(api, function, called)
    ended = fda(*line)
    assert (ended.code, ended.error_line.endswith("called")) == (1, True), ended.err
    kinds = {type(one) for one in expected}
    assert [one for one in calls[0] if type(one) in kinds] == expected
