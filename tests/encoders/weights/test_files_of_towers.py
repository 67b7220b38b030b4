"""Files of weights of all kinds of towers, as open_clip itself writes and reads them."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor

from encoders.encoding.encoder import Encoder
from encoders.errors import WeightsFormatError
from encoders.options import Activation, WeightsLayout
from encoders.torchvision_shim import import_open_clip
from encoders.weights.export import exported, write_weights
from encoders.weights.loading import LoadedModel, load_model
from encoders.weights.record import WeightsHeader
from tests.encoders_tiny import alpha_weight_of, random_clips, vision_inputs
from tests.small_towers import random_tokens, reduced, shrink_timm, stand_in_for_tokenizers

open_clip = import_open_clip()
SMALL = "small"


def _as_its_trainer_saves(path: Path, weights: Mapping[str, Tensor]) -> Path:
    named = {f"module.{name}": tensor for name, tensor in weights.items()}
    torch.save({"epoch": 3, "name": "run", "state_dict": named, "optimizer": {"state": {}}}, path / "epoch_3.pt")
    return path / "epoch_3.pt"


def _as_a_state_dict(path: Path, weights: Mapping[str, Tensor]) -> Path:
    torch.save(dict(weights), path / "weights.pt")
    return path / "weights.pt"


def _as_safetensors(path: Path, weights: Mapping[str, Tensor]) -> Path:
    safetensors.torch.save_file(dict(weights), path / "open_clip_model.safetensors")
    return path / "open_clip_model.safetensors"


def _as_on_its_hub(path: Path, weights: Mapping[str, Tensor]) -> Path:
    torch.save(dict(weights), path / "open_clip_pytorch_model.bin")
    (path / "open_clip_config.json").write_text(json.dumps({"model_cfg": {"embed_dim": 64}}))
    return path / "open_clip_pytorch_model.bin"


def _with_the_text_tower_beside_it(path: Path, weights: Mapping[str, Tensor]) -> Path:
    """As weights were written before text towers were modules of their own."""
    return _as_a_state_dict(path, {name.removeprefix("text."): tensor for name, tensor in weights.items()})


def _with_scalars_as_vectors(path: Path, weights: Mapping[str, Tensor]) -> Path:
    vectors = {name: tensor.reshape(1) for name, tensor in weights.items() if tensor.ndim == 0 and "logit" in name}
    return _as_safetensors(path, {**weights, **vectors})


Save = Callable[[Path, Mapping[str, Tensor]], Path]


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], tuple[Any, str]]:
    """Let open_clip make a small model of a kind, known to it as `SMALL`; give it with its file for fda."""
    shrink_timm(monkeypatch)
    stand_in_for_tokenizers(monkeypatch)

    def made(name: str) -> tuple[Any, str]:
        described = reduced(name)
        monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, SMALL, described)
        (tmp_path / f"{SMALL}.json").write_text(json.dumps(described))
        torch.manual_seed(0)
        return open_clip.create_model(SMALL).eval(), str(tmp_path / f"{SMALL}.json")

    return made


def _assert_gives_the_same(loaded: LoadedModel, plain: Any) -> None:
    clips, masks = random_clips(1, 1, loaded.config.image_size)
    images, alpha = vision_inputs(clips[0], masks[0], torch.device("cpu"), loaded.config.mean, loaded.config.std)
    tokens = random_tokens(loaded.config, 2)
    with torch.inference_mode():
        assert torch.equal(loaded.model.encode_frames(images, alpha), plain.encode_image(images, normalize=False))
        assert torch.equal(loaded.model.encode_texts(tokens), plain.encode_text(tokens, normalize=True))


@pytest.mark.parametrize(
    ("name", "save"),
    [
        ("ViT-B-16-SigLIP2", _as_safetensors),
        ("ViT-B-16-SigLIP", _with_scalars_as_vectors),
        ("PE-Core-B-16", _as_on_its_hub),
        ("PE-Core-B-16", _with_the_text_tower_beside_it),
        ("RN50", _as_its_trainer_saves),
        ("convnext_base_w", _as_a_state_dict),
        ("coca_ViT-B-32", _as_its_trainer_saves),
    ],
)
def test_a_file_of_open_clip_gives_its_features(
    name: str, save: Save, make: Callable[[str], tuple[Any, str]], tmp_path: Path
) -> None:
    plain, model = make(name)
    path = save(tmp_path, plain.state_dict())
    loaded = load_model(model, str(path), activation=Activation.GELU)
    assert loaded.report.missing == (loaded.model.alpha_weight,)
    assert all(entry.startswith("text_decoder.") for entry in loaded.report.unexpected)
    assert bool(loaded.report.unexpected) == name.startswith("coca")
    _assert_gives_the_same(loaded, plain)


def test_an_archive_that_runs_gives_its_features(make: Callable[[str], tuple[Any, str]], tmp_path: Path) -> None:
    plain, model = make("RN50-quickgelu")
    inputs = torch.zeros(1, 3, 64, 64), torch.zeros(1, 77, dtype=torch.int64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing is old, and warns of it
        torch.jit.trace(plain, inputs, check_trace=False).save(str(tmp_path / "RN50.pt"))  # type: ignore[no-untyped-call]
    loaded = load_model(model, str(tmp_path / "RN50.pt"))
    assert loaded.report.kind == "OpenAI CLIP"
    assert loaded.report.unexpected == ("attn_mask",)  # which is computed
    _assert_gives_the_same(loaded, plain)


def test_weights_of_another_loss_leave_the_bias_where_it_starts(
    make: Callable[[str], tuple[Any, str]], tmp_path: Path
) -> None:
    plain, model = make("ViT-B-16-SigLIP2")
    weights = {name: tensor for name, tensor in plain.state_dict().items() if name != "logit_bias"}
    loaded = load_model(model, str(_as_safetensors(tmp_path, weights)))
    assert loaded.model.clip.logit_bias.item() == -10
    assert loaded.report.missing == ("logit_bias", loaded.model.alpha_weight)
    assert loaded.report.summary().endswith("the logit bias starts where the model's description says")
    assert "RANDOM" not in loaded.report.summary()


def test_files_of_big_vision_are_refused_by_name(make: Callable[[str], tuple[Any, str]], tmp_path: Path) -> None:
    _, model = make("ViT-B-16-SigLIP")
    np.savez(tmp_path / "webli_en.npz", a=np.zeros(3))
    with pytest.raises(
        WeightsFormatError, match=r"webli_en\.npz is a file of NumPy, as big_vision writes .* open_clip's"
    ):
        load_model(model, str(tmp_path / "webli_en.npz"))


@pytest.mark.parametrize("name", ["ViT-B-16-SigLIP2", "PE-Core-B-16", "convnext_base_w", "coca_ViT-B-32", "RN50"])
def test_open_clip_reads_what_is_exported(
    name: str, make: Callable[[str], tuple[Any, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, model = make(name)
    loaded = load_model(model, "none")
    if name != "RN50":  # whose first layer looks over the edge of a picture
        with torch.no_grad():
            alpha_weight_of(loaded.model).normal_(std=0.1)
    path = tmp_path / "exported.safetensors"
    layout = WeightsLayout.CLIP
    write_weights(path, exported(loaded.model, layout), layout=layout, header=WeightsHeader(loaded.config.quick_gelu))
    if name.startswith("coca"):  # the two towers alone
        described = open_clip.factory._MODEL_CONFIGS[SMALL]
        towers = {key: value for key, value in described.items() if key != "multimodal_cfg"}
        towers |= {key: {**described[key], "output_tokens": False} for key in ("vision_cfg", "text_cfg")}
        monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, SMALL, {**towers, "custom_text": True})
    plain = open_clip.create_model(SMALL, pretrained=str(path)).eval()
    clips, masks = random_clips(1, 2, loaded.config.image_size)
    images, _ = vision_inputs(clips[0], masks[0], torch.device("cpu"), loaded.config.mean, loaded.config.std)
    with torch.inference_mode():
        expected = plain.encode_image(images).numpy()
    found = Encoder(loaded.model).encode_clips(clips, np.ones_like(masks)).frame[0]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
