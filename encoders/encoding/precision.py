"""The numbers that a model computes in."""

from __future__ import annotations

import torch

from encoders.options import Precision


def dtype_of(precision: Precision) -> torch.dtype:
    """The type of activations in a precision."""
    return torch.bfloat16 if precision is Precision.BF16 else torch.float32
