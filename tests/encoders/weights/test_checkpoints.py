import json
from pathlib import Path

import pytest
import safetensors.torch
import torch

from encoders.config import ModelConfig
from encoders.errors import WeightsFormatError, WeightsMismatchError, WeightsMissingError
from encoders.tables import JSON
from encoders.weights.files import sha256_of
from encoders.weights.loading import load_checkpoint, load_model, save_checkpoint
from tests.encoders_tiny import TENSORS, TINY, assert_same, tiny_model, write_config


def test_a_checkpoint_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    model = tiny_model()
    for tensor in model.named_tensors().values():
        tensor.fill_(torch.nan)
    save_checkpoint(tmp_path / "mine", model, TINY, {})
    with pytest.raises(WeightsFormatError, match=rf"NaN.*, and more in {len(TENSORS) - 5} other tensors\."):
        load_checkpoint(tmp_path / "mine")


def test_a_checkpoint_comes_back_to_the_bit(tmp_path: Path) -> None:
    model = tiny_model(seed=2)
    metadata: dict[str, JSON] = {"epoch": 3, "r_at_1": 0.5, "options": {"lr": 1e-6, "texts": ["é"]}}
    save_checkpoint(tmp_path / "a" / "b", model, TINY, metadata)
    loaded = load_checkpoint(tmp_path / "a" / "b")
    assert_same(loaded.model, model.named_tensors())
    assert (loaded.config, loaded.metadata) == (TINY, metadata)
    assert loaded.report.missing == ()
    assert loaded.report.sha256 == sha256_of(tmp_path / "a" / "b" / "model.safetensors")
    assert sorted(path.name for path in (tmp_path / "a" / "b").iterdir()) == ["config.json", "model.safetensors"]


def test_saving_twice_gives_the_same_bytes_and_the_weights_load_as_pretrained(tmp_path: Path) -> None:
    for name in ("one", "two"):
        save_checkpoint(tmp_path / name, tiny_model(), TINY, {"epoch": 1})
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    loaded = load_model(write_config(tmp_path), str(tmp_path / "one" / "model.safetensors"), None, seed=0)
    assert (loaded.report.kind, loaded.report.missing) == ("fda", ())


def test_what_cannot_be_saved_leaves_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_checkpoint(tmp_path, tiny_model(seed=1), TINY, {})
    with pytest.raises(ValueError, match="Out of range"):
        save_checkpoint(tmp_path, tiny_model(seed=2), TINY, {"loss": float("nan")})
    other = ModelConfig("other", TINY.embed_dim, TINY.vision_cfg, TINY.text_cfg)
    with pytest.raises(ValueError, match="'other' is not that of the model, 'tiny'"):
        save_checkpoint(tmp_path, tiny_model(seed=2), other, {})

    def full(tensors: object, path: Path, metadata: object) -> None:
        path.write_bytes(b"half of it")
        raise OSError("no space left on device")

    monkeypatch.setattr(safetensors.torch, "save_file", full)
    with pytest.raises(OSError, match="no space"):
        save_checkpoint(tmp_path, tiny_model(seed=2), TINY, {})
    assert_same(load_checkpoint(tmp_path).model, tiny_model(seed=1).named_tensors())
    assert len(list(tmp_path.iterdir())) == 2


def test_checkpoints_that_are_not_whole(tmp_path: Path) -> None:
    with pytest.raises(WeightsMissingError, match="no such folder"):
        load_checkpoint(tmp_path / "gone")
    with pytest.raises(FileNotFoundError, match=r"config\.json is missing"):
        load_checkpoint(tmp_path)
    save_checkpoint(tmp_path, tiny_model(), TINY, {})
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(WeightsMissingError, match=r"model\.safetensors is missing"):
        load_checkpoint(tmp_path)


def test_weights_that_were_changed(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, tiny_model(), TINY, {})
    content = bytearray((tmp_path / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(WeightsMismatchError, match="has SHA-256"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format_version": 2}, "format version 2.*up to 1.*update"),
        ({"format_version": None}, "format version None"),
        ({"extra": 1}, "unknown keys: extra"),
        ({"architecture": {"embed_dim": 1}}, "lacks text_cfg"),
        ({"metadata": 3}, "metadata a table"),
        ({"name": 3}, "must be texts"),
    ],
)
def test_configurations_that_cannot_be_read(tmp_path: Path, change: dict[str, object], words: str) -> None:
    save_checkpoint(tmp_path, tiny_model(), TINY, {})
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(WeightsFormatError, match=words):
        load_checkpoint(tmp_path)


def test_a_configuration_that_is_not_json(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, tiny_model(), TINY, {})
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(WeightsFormatError, match="cannot read the checkpoint's configuration"):
        load_checkpoint(tmp_path)
