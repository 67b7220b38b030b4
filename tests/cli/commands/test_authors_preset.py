"""The authors' preset through the real commands, with a tiny model: refused unasked, killed, resumed, marked."""

from __future__ import annotations

import json
import time
from pathlib import Path

from pipeline.training.presets import preset_folder
from store.store import Store
from tests.clips_on_disk import Commands, write_small_dataset
from tests.encoders_tiny import write_config
from tests.forked import Forked, forked_fda
from tests.stores import tree_digest

SMALL = ("--image-size", "32", "--kernel-size", "3", "--min-area", "4", "--workers", "0")


def tiny_preset(folder: Path) -> Path:
    """`fda-clip-authors` with another model, and rates at which that one moves."""
    text = (preset_folder() / "fda-clip-authors.toml").read_text(encoding="utf-8")
    text = text.replace("ViT-B-32-quickgelu", write_config(folder)).replace('"openai"', '"none"')
    path = folder / "tiny.toml"
    path.write_text(text.replace("1e-7", "1e-3"), encoding="utf-8")
    return path


def test_the_authors_code_as_it_is(fda: Commands, tmp_path: Path) -> None:
    videos = write_small_dataset(tmp_path, {"train": 8, "test": 2})
    store, preset = tmp_path / "store", tiny_preset(tmp_path)
    made = fda("preprocess", videos, store, "--preset", str(preset), *SMALL)
    assert made.code == 0, made.err
    made_with = Store.open(store).manifest.options
    assert (made_with["train_frames"], made_with["eval_sampling"]) == (24, {"mode": "prompt-switch"})
    wanted = (
        "--preset",
        str(preset),
        "--set",
        "batch_size=4",
        "--set",
        "epochs=2",
        "--device",
        "cpu",
        "--no-progress",
    )
    refused = fda("finetune", store, tmp_path / "whole", *wanted)
    assert refused.code != 0
    assert (
        f"--val-split test (of preset {preset}) would train, or choose the weights, on the videos that" in refused.err
    )
    allowed = (*wanted, "--choose-on-test", "--save-minutes", "0")
    whole = fda("finetune", store, tmp_path / "whole", *allowed, "--json")
    assert whole.code == 0, whole.err
    result = json.loads(whole.out)
    assert result["chosen_on_test"]
    assert len(result["evaluations"]) == 8  # ten are asked for in an epoch of four steps
    process = forked_fda(tmp_path, "finetune", str(store), tmp_path / "killed", *allowed)
    wait_for_lines(tmp_path / "killed/log.jsonl", 6, process)
    process.kill()
    assert not (tmp_path / "killed/history.json").exists()
    resumed = fda("finetune", store, tmp_path / "killed", *allowed)
    assert resumed.code == 0, resumed.err
    assert "CHOSEN ON TEST VIDEOS" in resumed.out
    first, second = (tree_digest(tmp_path / name) for name in ("whole", "killed"))
    for name in ("model.safetensors", "history.json"):
        assert first[name] == second[name]


def wait_for_lines(log: Path, number: int, process: Forked) -> None:
    end = time.monotonic() + 300
    while not log.is_file() or log.read_text().count("\n") < number:
        assert process.poll() is None, "it has ended too soon"
        assert time.monotonic() < end, "it does not get on"
        time.sleep(0.001)
