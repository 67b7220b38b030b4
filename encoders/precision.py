"""In which numbers a model computes, and where that pays."""

from __future__ import annotations

from enum import StrEnum

import torch


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


def computes_bf16(device: torch.device) -> bool:
    """Whether a device has instructions for bfloat16, and so computes in it at twice the speed or more.

    GPUs from NVIDIA's Ampere on; CPUs with AVX-512 BF16 or AMX.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return device.type == "cpu" and any(
        bool(getattr(torch.cpu, name, bool)())  # names that torch may rename: then no
        for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    )
