"""What users choose of an encoder. This module loads no torch, so that commands can list the choices at once."""

from __future__ import annotations

from enum import StrEnum

import torch


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
    """To encode, weights and activations are bfloat16, for autocast would be slower than float32 on a CPU; to train,
    the weights stay float32 and their products are bfloat16 (autocast)."""

    @property
    def dtype(self) -> torch.dtype:
        """Of activations."""
        return torch.bfloat16 if self is Precision.BF16 else torch.float32


class Activation(StrEnum):
    """What the towers use between the two layers of an MLP."""

    GELU = "gelu"
    QUICK_GELU = "quickgelu"
    """`x * sigmoid(1.702 x)`: OpenAI's and Alpha-CLIP's weights, and those of others that followed them."""
