"""Models of the released sizes with random weights, against the formulas in plain torch.

One of the released depths, but narrow, is read from files in the official layouts: those of a wide one take a gigabyte.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from encoders.config import ModelConfig, TextTower, VisionTower
from encoders.encoding.encoder import Encoder
from encoders.model import AlphaClip
from encoders.tokens import Tokenizer
from encoders.weights.loading import load_model
from encoders.weights.without_draws import WithoutDraws
from tests.encoders_tiny import (
    ALPHA_WEIGHT,
    alpha_clip_layout,
    assert_close,
    random_clips,
    randomise,
    reference_image_features,
    reference_inputs,
    reference_text_features,
    vision_inputs,
    write_config,
)

TEXTS = ["a red star is moving", "two dogs play with a ball on the beach while a man is watching them"]
SCALARS = {name: torch.tensor(1) for name in ("input_resolution", "context_length", "vocab_size")}


def shallow(config: ModelConfig, *, has_narrow_text: bool) -> ModelConfig:
    """With a layer in each tower: all layers of a tower are alike, and 24 of them take ten times as long.

    The vectors of words are the most of it: two models that have the same text tower need it once.
    """
    config = changed(config, layers=1)
    text = towers_of(config)[1]
    return replace(config, text_cfg=replace(text, width=64, heads=2)) if has_narrow_text else config


def narrow(config: ModelConfig) -> ModelConfig:
    """With all layers, of two heads."""
    config = changed(config, width=64)
    vision, text = towers_of(config)
    return replace(config, embed_dim=32, text_cfg=replace(text, heads=2), vision_cfg=replace(vision, head_width=32))


def changed(config: ModelConfig, **changes: int) -> ModelConfig:
    vision, text = towers_of(config)
    return replace(config, vision_cfg=replace(vision, **changes), text_cfg=replace(text, **changes))


def towers_of(config: ModelConfig) -> tuple[VisionTower, TextTower]:
    assert isinstance(config.vision_cfg, VisionTower)
    assert isinstance(config.text_cfg, TextTower)
    return config.vision_cfg, config.text_cfg


def random_model(config: ModelConfig) -> AlphaClip:
    """A million random numbers, over and over: to draw a hundred million takes longer than all else here."""
    with WithoutDraws():
        model = AlphaClip(config).eval()
    tensors = model.named_tensors()
    drawn = torch.randn(1_000_003, generator=torch.Generator().manual_seed(3))
    for name, tensor in tensors.items():
        if tensor.ndim > 1 and name != ALPHA_WEIGHT:
            outputs = tensor.shape[1] if name.endswith("proj") else tensor.shape[0]
            scaled = drawn * (tensor.numel() / outputs) ** -0.5
            times = -(-tensor.numel() // len(scaled))
            tensor.view(-1).copy_(scaled.repeat(times)[: tensor.numel()])
        elif name.endswith("bias"):
            tensor.zero_()
    torch.manual_seed(3)
    randomise(tensors)
    return model


def through_files(model: AlphaClip, folder: Path) -> AlphaClip:
    """Its weights written as people have them, and read: OpenAI's file, and Alpha-CLIP's over it."""
    tensors = model.named_tensors()
    base = {key: tensor for key, tensor in tensors.items() if key != ALPHA_WEIGHT}
    torch.save({**base, **SCALARS}, folder / "openai.pt")
    torch.save(alpha_clip_layout(tensors, prefix="module."), folder / "alpha.pth")
    loaded = load_model(write_config(folder, model.config), str(folder / "openai.pt"), folder / "alpha.pth")
    assert loaded.report.kind == "OpenAI CLIP + Alpha-CLIP"
    return loaded.model


@pytest.mark.parametrize(
    ("name", "layers", "with_the_text_tower_of"),
    [
        ("ViT-B-16-quickgelu", 12, "ViT-B-32-quickgelu"),
        ("ViT-L-14-quickgelu", 24, None),
        ("ViT-L-14-336-quickgelu", 24, "ViT-L-14-quickgelu"),
    ],
)
def test_features_are_those_of_the_formulas(name: str, layers: int, with_the_text_tower_of: str | None) -> None:
    released = ModelConfig.from_name_or_file(name)
    vision, text_tower = towers_of(released)
    assert (vision.layers, text_tower.layers) == (layers, 12)
    if with_the_text_tower_of is not None:
        assert text_tower == towers_of(ModelConfig.from_name_or_file(with_the_text_tower_of))[1]
    model = random_model(shallow(released, has_narrow_text=with_the_text_tower_of is not None))
    expect_features_of_the_formulas(model, model.named_tensors())


def test_features_of_a_whole_model_are_those_of_the_formulas() -> None:
    model = random_model(ModelConfig.from_name_or_file("ViT-B-32-quickgelu"))
    assert [tower.layers for tower in towers_of(model.config)] == [12, 12]
    expect_features_of_the_formulas(model, model.named_tensors())


def test_features_of_a_model_from_files_are_those_of_the_formulas(tmp_path: Path) -> None:
    model = random_model(narrow(ModelConfig.from_name_or_file("ViT-B-32-quickgelu")))
    expect_features_of_the_formulas(through_files(model, tmp_path), model.named_tensors())


def expect_features_of_the_formulas(model: AlphaClip, tensors: Mapping[str, Tensor]) -> None:
    config = model.config
    vision, text_tower = towers_of(config)
    frames, alpha = random_clips(1, 1, config.image_size)
    encoder = Encoder(model)
    image = torch.from_numpy(encoder.encode_clips(frames, alpha).frame[0])
    text = torch.from_numpy(encoder.encode_texts(TEXTS).text)
    with torch.inference_mode():
        heads = vision.width // vision.head_width
        inputs = reference_inputs(frames[0], alpha[0])
        expected = reference_image_features(alpha_clip_layout(tensors), *inputs, heads=heads)
        plain = model.encode_frames(*vision_inputs(frames[0], alpha[0], torch.device("cpu")))
        tokens = Tokenizer(config.context_length)(TEXTS).tokens
        layout = {key.replace("attn.in_proj_", "attn.in_proj."): tensor for key, tensor in tensors.items()}
        expected_text = reference_text_features(layout, tokens, heads=text_tower.heads)
    assert expected.abs().mean() > 0.1
    assert_close(plain, expected, rtol=0, atol=1e-5)
    assert_close(F.normalize(image, dim=-1), F.normalize(expected, dim=-1), rtol=0, atol=1e-5)
    assert_close(text, expected_text, rtol=0, atol=1e-5)
