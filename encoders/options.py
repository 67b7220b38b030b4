"""What users choose of an encoder. This module loads no torch, so that commands can list the choices at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

from encoders.errors import ModelError

MIN_WORDS = 3
"""Tokens that a text must be left with: its start, one of its own, its end."""


HUB, LOCAL = "hf-hub:", "local-dir:"
"""How open_clip's names begin of models that come with their weights: in a repository of the hub, or in a folder."""
OPEN_CLIP_CONFIG = "open_clip_config.json"
"""The file there that describes the model, the mean and deviation of its pixels, and its tokenizer."""


def is_whole_model(model: str) -> bool:
    """Whether a model's name stands for a folder or a repository with its description and its weights."""
    return model.startswith((HUB, LOCAL)) or (model != "" and Path(model).is_dir())


class Pooling(StrEnum):
    """How the features of a clip's frames become those of the clip."""

    MEAN = "mean"
    """Their average, then unit norm (FDA-CLIP)."""
    UNIT_MEAN = "unit-mean"
    """The average of the frames' features at unit norm, then unit norm again (CLIP4Clip's meanP)."""


class Precision(StrEnum):
    """Numbers that a model computes in. Embeddings and losses are float32 in any case."""

    FP32 = "fp32"
    BF16 = "bf16"
    """To encode, weights and activations are bfloat16, because autocast is slower than float32 on a CPU; to train,
    the weights stay float32 and their products are bfloat16 (autocast)."""


class Activation(StrEnum):
    """What the towers use between the two layers of an MLP."""

    GELU = "gelu"
    QUICK_GELU = "quickgelu"
    """`x * sigmoid(1.702 x)`: OpenAI's and Alpha-CLIP's weights, and those of others that followed them."""


class WeightsLayout(StrEnum):
    """Whose names weights are written under, and which part of a model."""

    ALPHA_CLIP = "alpha-clip"
    """The vision tower as Alpha-CLIP's code reads it (`alpha_clip.load(..., alpha_vision_ckpt_pth=FILE)`)."""
    CLIP = "clip"
    """Both towers in OpenAI's and open_clip's names, without the alpha convolution: it gives what the model gives where
    the alpha is all ones."""


@dataclass(frozen=True, slots=True)
class ModelSource:
    """Where to get a model from: what a user says of it, and enough for another machine to load the same.

    `encoders.weights.loading.load` loads it.
    """

    checkpoint: Path | None = None
    """What `save_checkpoint` wrote; nothing else is needed then."""
    model: str = ""
    """One of open_clip's names, a JSON file that describes a model, `hf-hub:ORG/NAME`, or a folder as open_clip
    publishes models: with `open_clip_config.json`, weights and maybe a tokenizer."""
    pretrained: str = ""
    """One of open_clip's tags for that model, a local file, or "none" for random weights. Of a repository or a folder,
    its own weights by default."""
    alpha_checkpoint: Path | None = None
    """An Alpha-CLIP state dict (a vision tower), loaded on top of `pretrained`."""
    seed: int = 0
    """Of random weights; the same seed gives the same ones."""
    activation: Activation | None = None
    """What the weights were trained with, for files that do not tell: open_clip's state dicts."""

    def __post_init__(self) -> None:
        for name in ("checkpoint", "alpha_checkpoint"):  # given as text as well
            value = getattr(self, name)
            object.__setattr__(self, name, None if value is None else Path(value))
        if self.activation is not None:
            object.__setattr__(self, "activation", Activation(self.activation))
        if self.checkpoint is not None and (self.model or self.pretrained or self.alpha_checkpoint or self.activation):
            raise ModelError("--checkpoint holds the model and its weights: give it alone")

    def to_dict(self) -> dict[str, str | int | None]:
        """The fields as JSON, for `from_dict` on this machine, whatever its working folder: files as absolute paths."""
        return {
            "checkpoint": _absolute(self.checkpoint),
            "model": _absolute_model(self.model),
            "pretrained": str(_absolute(self.pretrained)) if Path(self.pretrained).is_file() else self.pretrained,
            "alpha_checkpoint": _absolute(self.alpha_checkpoint),
            "seed": self.seed,
            "activation": self.activation,
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """Read the fields again.

        Raises:
            ValueError: They are not those of a model's source.
        """
        unknown = fields.keys() - cls.__dataclass_fields__.keys()
        if unknown:
            raise ValueError(f"a model's source has no field {min(unknown)!r}")
        return cls(**fields)


def _absolute_model(model: str) -> str:
    prefix = LOCAL if model.startswith(LOCAL) else ""
    path = model.removeprefix(prefix)
    return f"{prefix}{_absolute(path)}" if path and Path(path).exists() else model


def _absolute(path: str | Path | None) -> str | None:
    return None if path is None else str(Path(path).absolute())
