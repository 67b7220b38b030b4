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
    assert options_given(fda, monkeypatch, function, line, expected) == expected


@pytest.mark.parametrize("name", [*api.preset_names(), "MINE"])
def test_commands_take_of_a_preset_what_python_has_of_it(
    fda: Commands, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    if name == "MINE":
        name = str(tmp_path / "mine.toml")
        Path(name).write_text(
            '[model]\nmodel = "a"\npretrained = "none"\nalpha = "ones"\n[finetune]\nmax_words = 8\n[preprocess]\n'
            "sampling = 'fps'\nfps = 0.3\nkeep = 'head'\neval-sampling = 'uniform'\nthreshold = 30\nmasks = 'soft'\n"
            "soft = true\nneighbours = true\nimage-size = 64\ntimeout = 3\nframe-codec = 'zstd'\nmin_area = 2\n",
            encoding="utf-8",
        )
    preset = api.load_preset(name)
    lines: dict[str, tuple[list[str], list[object]]] = {
        "preprocess": (["preprocess", ".", "store"], [preset.preprocess_options]),
        "encode": (["encode", "store", "--features", "a"], [preset.encode_options("a"), preset.model_source]),
        "finetune": (["finetune", "store", "checkpoint"], [preset.finetune_options]),
    }
    for function, (line, expected) in lines.items():
        assert options_given(fda, monkeypatch, function, [*line, "--preset", name], expected) == expected


def options_given(
    fda: Commands, monkeypatch: pytest.MonkeyPatch, function: str, line: Sequence[str], expected: Sequence[object]
) -> list[object]:
    """What a command calls a function with, of the kinds of what is expected."""
    calls: list[list[object]] = []

    def called(*arguments: object, **named: Any) -> None:
        calls.append([*arguments, *named.values()])
        raise api.PipelineError("called")

    monkeypatch.setattr(api, function, called)
    ended = fda(*line)
    assert (ended.code, ended.error_line.endswith("called")) == (1, True), ended.err
    kinds = {type(one) for one in expected}
    return [one for one in calls[0] if type(one) in kinds]
