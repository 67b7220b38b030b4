"""Where towers look: what is shown is what their own layers weigh patches by, whichever layers those are."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from encoders.config import ModelConfig
from encoders.encoding.encoder import Encoder
from encoders.errors import ModelError
from encoders.model import AlphaClip
from tests.encoders_tiny import alpha_weight_of, assert_close, random_clips, vision_inputs
from tests.small_towers import reduced, shrink_timm, stand_in_for_tokenizers


def _small(name: str, monkeypatch: pytest.MonkeyPatch) -> AlphaClip:
    shrink_timm(monkeypatch)
    stand_in_for_tokenizers(monkeypatch)
    torch.manual_seed(0)
    model = AlphaClip(ModelConfig.from_architecture(name, reduced(name), name)).eval()
    with torch.no_grad():
        for tensor in model.parameters():
            if tensor.ndim == 2:  # so that some patches count more than others
                tensor.mul_(10)
        alpha_weight_of(model).normal_(std=0.1)
    return model


def _weights_of_the_last_layer(
    model: AlphaClip, images: Tensor, alpha: Tensor, monkeypatch: pytest.MonkeyPatch
) -> Tensor:
    """What torch's attention is given last, turned into weights: of the first query, on average over the heads."""
    seen: list[Tensor] = []
    attend = torch.nn.functional.scaled_dot_product_attention

    def watched(query: Tensor, key: Tensor, value: Tensor, *others: object, **more: object) -> Tensor:
        scores = query[:, :, :1] @ key.transpose(-2, -1) / query.shape[-1] ** 0.5
        seen.append(scores.softmax(dim=-1).mean(dim=1)[:, 0])
        return attend(query, key, value, *others, **more)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(torch.nn.functional, "scaled_dot_product_attention", watched)
        model.encode_frames(images, alpha)  # with a gradient: without one, torch takes a shorter way in some layers
    return seen[-1].detach()


@pytest.mark.parametrize(
    "name",
    [
        "ViT-B-32-quickgelu",
        "coca_ViT-B-32",
        "coca_base",
        "RN50-quickgelu",
        "EVA01-g-14",
        "EVA02-B-16",
        "MobileCLIP2-B",
        "PE-Core-B-16",
        "ViT-B-16-SigLIP2",
    ],
)
def test_attention_is_that_of_the_layer_that_reads_the_patches(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = _small(name, monkeypatch)
    clips, masks = random_clips(1, 2, model.config.image_size)
    found = Encoder(model, batch_frames=1).attention(clips[0], masks[0])
    images, alpha = vision_inputs(clips[0], masks[0], torch.device("cpu"), model.config.mean, model.config.std)
    weights = _weights_of_the_last_layer(model, images, alpha, monkeypatch)
    grid = found.shape[1]
    assert found.shape == (2, grid, grid)
    assert len(weights[0]) - grid**2 in (0, 1)
    expected = weights[:, -(grid**2) :].reshape(found.shape)
    assert_close(torch.from_numpy(found), expected, rtol=1e-3, atol=1e-5)
    assert found.max() > 1.01 * found.min()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("convnext_base_w", r"it averages what its last layers \(ConvNeXt\) give, so"),
        ("ViT-L-14-CLIPA", "it averages its patches, so that each counts alike"),
        ("ViTamin-S", "it averages its patches"),
        ("vit_relpos_medium_patch16_cls_224", "its blocks weigh patches by their relative positions"),
    ],
)
def test_a_tower_without_attention_says_why(name: str, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = _small(name, monkeypatch)
    clips, masks = random_clips(1, 1, model.config.image_size)
    with pytest.raises(ModelError, match=f"^{name} has no attention to show: {reason}"):
        Encoder(model).attention(clips[0], masks[0])
