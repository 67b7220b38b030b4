"""The numbers that a model computes in, and which devices compute fast in them."""

from __future__ import annotations

import torch

from encoders.options import Precision


def dtype_of(precision: Precision) -> torch.dtype:
    """The type of activations in a precision."""
    return torch.bfloat16 if precision is Precision.BF16 else torch.float32


def computes_bf16(device: torch.device) -> bool:
    """Whether a device has instructions for bfloat16, and so computes in it at twice the speed or more.

    GPUs from NVIDIA's Ampere on; CPUs with AVX-512 BF16 or AMX.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return device.type == "cpu" and any(
        bool(getattr(torch.cpu, name, bool)())  # private names, which torch may rename: then False
        for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    )
