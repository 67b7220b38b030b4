"""Copies of models that only encode: faster, and the same up to rounding."""

from __future__ import annotations

import copy
from itertools import chain

import torch

from encoders.encoding.fusing import fuse_norms, fused_modules
from encoders.encoding.quick_gelu import mlps_with_quick_gelu, speed_up_quick_gelu
from encoders.model import AlphaClip


def copy_to_encode(model: AlphaClip, *, shares: bool) -> AlphaClip:
    """Copy a model, to compute the same up to rounding in less time.

    Args:
        model: in float32; it is not changed.
        shares: whether the copy has the weights of the model, except those that change: of MLPs with QuickGELU and of
            convolutions with norms. Else all are its own.

    Returns:
        A model in float32.
    """
    shared: dict[int, torch.Tensor] = {}  # the memo of `copy.deepcopy`, by id: what is in it counts as copied
    if shares:
        modules = chain(mlps_with_quick_gelu(model), fused_modules(model))
        changing = {id(weights) for module in modules for weights in module.parameters()}
        tensors = chain(model.parameters(), model.buffers())
        shared = {id(tensor): tensor for tensor in tensors if id(tensor) not in changing}
    copied = copy.deepcopy(model, shared).eval()
    speed_up_quick_gelu(copied)
    fuse_norms(copied)
    return copied
