"""What `fda encode` may be asked for beside a model: a preset's."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.clips_on_disk import Commands, run_preprocess, write_small_dataset
from tests.encoders_tiny import TINY, write_config


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    return Path(run_preprocess(write_small_dataset(folder, {"train": 4, "test": 6}), folder / "store").place)


def test_a_preset_gives_model_and_options_and_flags_win(fda: Commands, store: Path, tmp_path: Path) -> None:
    write_config(tmp_path)
    preset = tmp_path / "mine.toml"
    preset.write_text(
        '[model]\nmodel = "tiny.json"\npretrained = "none"\nalpha = "ones"\n'
        '[finetune]\npooling = "unit-mean"\nmax_words = 8\n'
    )
    line = ("encode", store, "--features", "mine", "--preset", preset, "--precision", "fp32", "--dry-run", "--json")
    shown = fda(*line)
    assert shown.code == 0, shown.err
    said = json.loads(shown.out)
    assert (said["model"], said["alpha"], said["pooling"], said["max_words"]) == ("tiny", "ones", "unit-mean", 8)
    other = write_config(tmp_path, replace(TINY, name="other"))
    said = json.loads(fda(*line, "--alpha", "masks", "--model", other).out)
    assert (said["model"], said["alpha"], said["pooling"]) == ("other", "masks", "unit-mean")
    both = fda(*line, "--checkpoint", tmp_path)
    assert both.code == 2
    assert "give it alone" in both.err
    unknown = fda("encode", store, "--features", "mine", "--preset", "pe-core")
    assert unknown.code != 0
    assert "pe-core-b16" in unknown.err
