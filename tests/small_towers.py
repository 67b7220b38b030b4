"""Reduced copies of open_clip's models: the same kinds of layers, few and narrow, so that one is made in a moment."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import nn

from encoders.config import ModelConfig
from encoders.torchvision_shim import import_open_clip, import_timm

open_clip = import_open_clip()
timm = import_timm()

WIDTH = 64
"""Of what timm's transformers are made of, and of embeddings: some towers give their width out unprojected."""

_SMALLER: dict[str, dict[str, object]] = {
    "convnext": {"depths": (1, 1, 1, 1), "dims": (8, 16, 24, 32)},
    "fastvit_mci3": {"layers": (1,) * 5, "embed_dims": (16, 32, 64, 128, 256)},
    "fastvit_mci4": {"layers": (1,) * 5, "embed_dims": (16, 32, 64, 128, 256)},
    "fastvit": {"layers": (1,) * 4, "embed_dims": (16, 32, 64, 128)},
    "swin": {"depths": (1, 1, 1, 1), "embed_dim": 16, "num_heads": (1, 1, 2, 2)},
    "vitamin": {"depth": 1, "img_size": 64},
    "vit_base_mci": {"depth": 1, "img_size": 64},
    "": {"depth": 1, "embed_dim": WIDTH, "num_heads": 4},
}
"""How the name of a timm model begins -> what makes it smaller."""


def shrink_timm(monkeypatch: pytest.MonkeyPatch, **more: object) -> None:
    """Let timm make small models under its own names, with more settings of its own."""
    make: Callable[..., nn.Module] = timm.create_model

    def small(name: str, **settings: Any) -> nn.Module:
        begins = next(one for one in _SMALLER if name.startswith(one))
        return make(name, **settings, **_SMALLER[begins], **more)

    monkeypatch.setattr(timm, "create_model", small)


class Words:
    """A vocabulary for models whose tokenizer is not installed: a number for each word."""

    pad = 0

    def tokens(self, texts: Sequence[str], most: int) -> list[tuple[list[int], int]]:
        """See `encoders.tokens.Vocabulary`."""
        numbers = [[3 + len(word) * 7 % 90 for word in text.split()] for text in texts]
        return [([*found[: most - 1], 1], max(0, len(found) - most + 1)) for found in numbers]


def stand_in_for_tokenizers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let all tokenizers of Hugging Face be `Words`."""
    monkeypatch.setattr("encoders.tokens._vocabulary", lambda name, settings: Words())


def reduced(name: str) -> dict[str, Any]:
    """Open_clip's description of a model, with few layers."""
    described: dict[str, Any] = open_clip.get_model_config(name)
    vision, text = described["vision_cfg"], described["text_cfg"]
    described["embed_dim"] = WIDTH
    if isinstance(vision.get("layers"), list):
        vision |= {"layers": [1, 1, 1, 1], "width": 8, "image_size": 64}
    elif "timm_model_name" not in vision:
        vision |= {"layers": 1, "width": 32, "head_width": 16, "image_size": 2 * vision["patch_size"]}
        vision |= {"attn_pooler_heads": 2} if vision.get("attentional_pool") else {}
    if vision.get("timm_model_name", "").startswith(("vitamin", "vit_base_mci")):
        vision["image_size"] = 64
    text |= {"layers": 1, "width": 16, "heads": 2}
    if "hf_tokenizer_name" in text:
        text["vocab_size"] = 1000
    if "multimodal_cfg" in described:
        described["multimodal_cfg"] |= {"layers": 1, "width": 16, "heads": 2}
    return described


def plain_of(described: dict[str, Any]) -> Any:
    """Open_clip's own model of a description, made as its `create_model` does."""
    settings = dict(described)
    is_custom = settings.pop("custom_text", False)
    kind = open_clip.CLIP
    if is_custom:
        kind = open_clip.CoCa if "multimodal_cfg" in settings else open_clip.CustomTextCLIP
    settings["vision_cfg"] = open_clip.CLIPVisionCfg(**settings["vision_cfg"])
    settings["text_cfg"] = open_clip.CLIPTextCfg(**settings["text_cfg"])
    return kind(**settings).eval()


def random_tokens(config: ModelConfig, num_texts: int) -> torch.Tensor:
    """Texts of unlike lengths, ended and padded as most tokenizers do it."""
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(3, 900, (num_texts, config.context_length), generator=generator)
    settings = getattr(config.text_cfg, "settings", {})
    end = settings.get("eos_id", 2) if settings.get("pool_type") == "eos" else 49407
    if "hf_tokenizer_name" in settings and settings.get("pool_type") != "eos":
        end = 1
    for row in range(num_texts):
        tokens[row, 4 + row] = end
        tokens[row, 5 + row :] = 0
    return tokens
