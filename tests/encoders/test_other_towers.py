"""Dual encoders beside CLIP's ViTs: what is accepted, and that each is open_clip's own to the bit."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

from encoders.building import num_bytes
from encoders.config import CLIP_MEAN, ModelConfig, supported_models, why_refused
from encoders.encoding.encoder import Encoder
from encoders.errors import ModelError
from encoders.model import AlphaClip
from encoders.options import Precision
from encoders.tokens import Tokenizer
from encoders.torchvision_shim import import_open_clip, import_timm
from encoders.weights.loading import load_checkpoint, save_checkpoint
from encoders.weights.pretrained import expected_by
from tests.encoders_tiny import alpha_weight_of, assert_close, random_clips, vision_inputs
from tests.small_towers import plain_of, random_tokens, reduced, shrink_timm, stand_in_for_tokenizers

open_clip = import_open_clip()

REFUSED = {
    "text towers from Hugging Face need the package transformers": {
        "coca_roberta-ViT-B-32",
        "mt5-base-ViT-B-32",
        "mt5-xl-ViT-H-14",
        "nllb-clip-base",
        "nllb-clip-base-siglip",
        "nllb-clip-large",
        "nllb-clip-large-siglip",
        "roberta-ViT-B-32",
        "xlm-roberta-base-ViT-B-32",
        "xlm-roberta-large-ViT-H-14",
    }
}
FAMILIES = {
    "RN50-quickgelu": "visual.conv1_alpha.weight",
    "ViT-L-14-CLIPA": "visual.conv1_alpha.weight",
    "ViT-H-14-worldwide-quickgelu": "visual.conv1_alpha.weight",
    "coca_ViT-B-32": "visual.conv1_alpha.weight",
    "coca_base": "visual.conv1_alpha.weight",
    "convnext_base_w": "visual.trunk.stem.0_alpha.weight",
    "swin_base_patch4_window7_224": "visual.trunk.patch_embed.proj_alpha.weight",
    "EVA01-g-14": "visual.trunk.patch_embed.proj_alpha.weight",
    "EVA02-B-16": "visual.trunk.patch_embed.proj_alpha.weight",
    "PE-Core-B-16": "visual.trunk.patch_embed.proj_alpha.weight",
    "ViT-B-16-SigLIP2": "visual.trunk.patch_embed.proj_alpha.weight",
    "MobileCLIP2-L-14": "visual.trunk.patch_embed.proj_alpha.weight",
    "MobileCLIP2-B": "visual.trunk.patch_embed.backbone.0.conv_alpha.weight",
    "MobileCLIP2-S0": "visual.trunk.stem.0.conv_kxk.0.conv_alpha.weight",
    "MobileCLIP2-S3": "visual.trunk.stem.0.conv_kxk.0.conv_alpha.weight",
    "ViTamin-S": "visual.trunk.patch_embed.backbone.stem.conv1_alpha.weight",
    "vit_medium_patch16_gap_256": "visual.trunk.patch_embed.proj_alpha.weight",
    "vit_relpos_medium_patch16_cls_224": "visual.trunk.patch_embed.proj_alpha.weight",
}
"""A model of each family -> the name of its alpha convolution's weights."""


def test_all_models_of_open_clip_are_accepted_or_refused_with_a_reason() -> None:
    names = open_clip.list_models()
    refused = {name: reason for name in names if (reason := why_refused(name))}
    assert [model.name for model in supported_models()] == [name for name in names if name not in refused]
    expected = {} if importlib.util.find_spec("transformers") else REFUSED
    assert {name: next(one for one in REFUSED if one in reason) for name, reason in refused.items()} == {
        name: reason for reason, those in expected.items() for name in those
    }
    assert len(names) - len(refused) >= 120


def _show_to_norms(model: AlphaClip, images: torch.Tensor, alpha: torch.Tensor) -> None:
    """Let norms of batches see these pictures: with what they start with, hardly anything gets through."""
    norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
        norm.train()
        torch.nn.init.uniform_(norm.weight, 0.5, 1.5)  # where a block begins with none of its own, too
        torch.nn.init.normal_(norm.bias, std=0.1)
    if norms:
        with torch.no_grad():
            model.encode_frames(images, alpha)
    model.eval()


@pytest.mark.parametrize("name", FAMILIES)
def test_without_alpha_a_model_is_open_clips_to_the_bit(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shrink_timm(monkeypatch)
    stand_in_for_tokenizers(monkeypatch)
    described = reduced(name)
    config = ModelConfig.from_architecture("small", described, name)
    torch.manual_seed(0)
    model = AlphaClip(config).eval()
    size, tokens = config.image_size, random_tokens(config, 3)
    clips, masks = random_clips(1, 2, size)
    images, alpha = vision_inputs(clips[0], masks[0], torch.device("cpu"), config.mean, config.std)
    _show_to_norms(model, images, alpha)
    tensors = model.named_tensors()
    assert model.alpha_weight == FAMILIES[name]
    plain = plain_of(described)
    weights = {key: tensor for key, tensor in tensors.items() if key != model.alpha_weight}
    missing, unexpected = plain.load_state_dict(weights, strict=False)
    assert not unexpected
    assert all(key.startswith("text_decoder.") for key in missing)

    with torch.inference_mode():
        expected = plain.encode_image(images, normalize=False)
        assert torch.equal(model.encode_frames(images, alpha), expected)
        text = plain.encode_text(tokens, normalize=True)
        assert torch.equal(model.encode_texts(tokens), text)
        if config.is_causal:
            assert_close(model.encode_texts(tokens[:, :7]), text, rtol=0, atol=1e-6)
    found = Encoder(model).encode_clips(clips, masks).frame[0]
    cosine = torch.nn.functional.cosine_similarity(torch.from_numpy(found), expected, dim=-1)
    assert cosine.min() >= 0.99999
    texts = ["a dog runs", "two birds sit on a long wire over the sea"]
    tokens = Tokenizer.of(config)(texts).tokens
    with torch.inference_mode():
        assert_close(
            torch.from_numpy(Encoder(model).encode_texts(texts).text),
            plain.encode_text(tokens, normalize=True),
            rtol=0,
            atol=1e-6,
        )
    near = Encoder(model, precision=Precision.BF16).encode_clips(clips, masks).frame[0]
    assert torch.nn.functional.cosine_similarity(torch.from_numpy(near), expected, dim=-1).min() >= 0.99

    model.encode_frames(images.contiguous(), alpha).square().sum().backward()  # type: ignore[no-untyped-call]
    gradient = alpha_weight_of(model).grad
    assert gradient is not None
    assert gradient.abs().max() > 0
    with torch.no_grad():
        alpha_weight_of(model).normal_()
        expected = model.encode_frames(images, alpha)
    trained, soft = (Encoder(model).encode_clips(clips, one).frame[0] for one in (masks, 255 * masks.astype(np.uint8)))
    cosine = torch.nn.functional.cosine_similarity(torch.from_numpy(trained), expected, dim=-1)
    assert cosine.min() >= 0.99999
    np.testing.assert_array_equal(soft, trained)
    assert np.abs(trained - found).max() > 1e-3 * np.abs(found).max()
    save_checkpoint(tmp_path, model, config, {})
    again = load_checkpoint(tmp_path)
    assert again.config == config
    numbers = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    for key, tensor in (*again.model.named_parameters(), *again.model.named_buffers()):
        assert torch.equal(tensor, numbers[key]), key  # not what was in memory
    np.testing.assert_array_equal(
        Encoder(again.model).encode_clips(clips, masks).video, Encoder(model).encode_clips(clips, masks).video
    )


def test_pixels_are_normalised_as_the_weights_expect() -> None:
    assert ModelConfig.from_name_or_file("PE-Core-B-16").mean == (0.5, 0.5, 0.5)
    assert ModelConfig.from_name_or_file("MobileCLIP2-S0").std == (1.0, 1.0, 1.0)
    assert ModelConfig.from_name_or_file("ViT-L-14-CLIPA").mean == (0.485, 0.456, 0.406)
    of_several = ModelConfig.from_name_or_file("ViT-L-14")
    assert of_several.mean == CLIP_MEAN
    assert expected_by(of_several, "laion2b_s32b_b82k").mean == (0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    ("vision", "text", "words"),
    [
        ({"timm_model_name": "vit_pe_core_bas"}, {}, "no model 'vit_pe_core_bas'; did you mean vit_pe_core_base"),
        ({"timm_model_name": "hf-hub:some/body"}, {}, "no model 'hf-hub:some/body'"),
        ({"timm_model_name": 3}, {}, "'timm_model_name' in vision_cfg of it must be"),
        ({"layers": [1, 1, 1]}, {}, r"whole number or four of them, got \[1, 1, 1\]"),
        ({"layers": [1, 1, 1, 10**5]}, {}, "layers must be at most 1,000"),
        ({"no_ln_pre": 1}, {}, "'no_ln_pre' in vision_cfg of it must be true or false, got 1"),
        ({"no_ln_pre": True}, {}, "vision_cfg of it lacks patch_size"),
        ({}, {"pool_type": "last", "vocab_size": 1000}, "49408 or more, got 1000.*hf_tokenizer_name"),
        ({"no_ln_pre": True, "patch_size": None}, {}, "vision_cfg of it lacks patch_size"),
        ({}, {"no_causal_mask": True, "vocab_size": 1000, "hf_tokenizer_name": None}, "49408 or more, got 1000"),
        ({}, {"no_causal_mask": "yes"}, "'no_causal_mask' in text_cfg of it must be true or false"),
    ],
)
def test_bad_descriptions_are_refused_before_anything_is_built(
    vision: dict[str, object], text: dict[str, object], words: str
) -> None:
    sizes = {"patch_size": 16, "width": 32} if not vision else {}
    described = {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 32, "layers": 1, "head_width": 16, **sizes, **vision},
        "text_cfg": {"context_length": 8, "width": 16, "heads": 2, "layers": 1, **text},
    }
    with pytest.raises(ModelError, match=words):
        ModelConfig.from_architecture("it", described, "it")


def test_a_text_tower_that_gives_few_sizes_is_no_vision_tower() -> None:
    described = reduced("ViT-L-14-CLIPA")
    described["text_cfg"] = {"context_length": 8, "width": 64, "layers": 1, "no_causal_mask": True}
    assert num_bytes(ModelConfig.from_architecture("small", described, "it")) > 4 * 49408 * 64


def test_tokenizer_settings_may_be_lists() -> None:
    described = reduced("ViT-L-14-CLIPA")
    described["text_cfg"] |= {"hf_tokenizer_name": "/no/such/folder", "tokenizer_kwargs": {"a": [1]}}
    with pytest.raises(ModelError, match="tokenizer"):
        Tokenizer.of(ModelConfig.from_architecture("small", described, "it"))


def test_what_open_clip_cannot_build_is_one_line() -> None:
    described = reduced("ViT-L-14-CLIPA")
    described["text_cfg"]["heads"] = 5
    with pytest.raises(ModelError, match="^open_clip cannot build model small: "):
        AlphaClip(ModelConfig.from_architecture("small", described, "it"))


def test_timm_is_asked_for_again_without_stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads ask for it while others import: a stand-in that one of them puts there, another would take."""

    def refuse() -> None:
        raise AssertionError("a stand-in for torch's compiler")

    timm = import_timm()
    monkeypatch.setattr("encoders.torchvision_shim._without_compiler", refuse)
    assert import_timm() is timm
    assert open_clip.timm_model.timm is timm
