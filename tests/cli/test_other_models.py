"""The whole path by the command line with towers of timm: a tiny SigLIP with its own loss, and a tiny PE-Core."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.clips_on_disk import SIZE, Commands, run_preprocess, write_small_dataset
from tests.small_towers import WIDTH, shrink_timm

_TEXT = {"context_length": 12, "width": WIDTH, "heads": 2, "layers": 1}
MODELS: dict[str, dict[str, Any]] = {
    "siglip": {
        "vision_cfg": {"timm_model_name": "vit_base_patch16_siglip_224", "timm_pool": "map", "timm_proj": "none"},
        "text_cfg": {**_TEXT, "no_causal_mask": True, "pool_type": "last", "proj_bias": True},
        "custom_text": True,
        "init_logit_bias": -10,
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
    },
    "pe": {
        "vision_cfg": {"timm_model_name": "vit_pe_core_base_patch16_224", "timm_pool": "map", "timm_proj": None},
        "text_cfg": _TEXT,
        "custom_text": True,
    },
}
LOSSES = {"siglip": "sigmoid", "pe": "contrastive"}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    clips = write_small_dataset(folder, {"train": 4, "val": 2, "test": 3})
    return Path(run_preprocess(clips, folder / "store").place)


@pytest.mark.parametrize("name", MODELS)
def test_the_whole_path(name: str, fda: Commands, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shrink_timm(monkeypatch, img_size=SIZE)
    described = {"embed_dim": WIDTH, **MODELS[name]}
    described["vision_cfg"] = {"image_size": SIZE, **described["vision_cfg"]}
    (tmp_path / f"{name}.json").write_text(json.dumps(described))
    preset, checkpoint = tmp_path / "tiny.toml", tmp_path / "checkpoint"
    preset.write_text(
        f'[model]\nmodel = "{name}.json"\npretrained = "none"\n\n'
        f'[finetune]\nepochs = 1\nbatch_size = 4\nlr = 1e-3\nalpha_lr = 1e-2\nloss = "{LOSSES[name]}"\n'
    )
    trained = fda("finetune", store, checkpoint, "--preset", preset, "--json")
    assert trained.code == 0, trained.err
    encoded = fda("encode", store, "--features", name, "--checkpoint", checkpoint, "--precision", "fp32", "--json")
    assert encoded.code == 0, encoded.err
    scored = fda("eval", store, "--features", name, "--split", "test", "--json")
    assert scored.code == 0, scored.err
    found = fda("search", store, "a square runs", "--features", name, "--json")
    assert found.code == 0, found.err
    page = tmp_path / "page.html"
    inspected = fda("inspect", store, "--features", name, "--page", page)
    assert inspected.code == 0, inspected.err
    assert "no attention" not in inspected.err
    assert "attention with an alpha of all ones" in page.read_text(encoding="utf-8")
    told = json.loads(fda("weights", "--checkpoint", checkpoint, "--json").out)
    assert told["missing"] == []
