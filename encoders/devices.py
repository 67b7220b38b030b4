"""Where a model runs."""

from __future__ import annotations

import os
import resource
from typing import TYPE_CHECKING

import torch

from encoders.errors import DeviceError

if TYPE_CHECKING:
    from encoders.model import AlphaClip

Device = torch.device
"""The type of a device, for modules outside `encoders`, which do not import torch."""


def find_device(device: str) -> torch.device:
    """The device of a name; under `torchrun`, "auto" and "cuda" are this process's own GPU.

    Args:
        device: "auto" (a GPU if there is one, otherwise the CPU), or one of torch's names: "cpu", "cuda", "cuda:1".

    Raises:
        ValueError: torch knows no such name.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda":
        device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    try:
        return torch.device(device)
    except RuntimeError as error:
        raise DeviceError.of(device, error) from error


def move_to(model: AlphaClip, device: str) -> torch.device:
    """Move a model to a device, and return the device.

    Args:
        model: moved in place.
        device: as of `find_device`.

    Raises:
        ValueError: torch has no such device here.
    """
    chosen = find_device(device)
    try:
        model.to(chosen)
    except (RuntimeError, AssertionError) as error:  # torch without CUDA asserts
        raise DeviceError.of(device, error) from error
    return chosen


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


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether an error says that memory ran out."""
    # torch has an error class for GPUs only; on the CPU the allocator's message is all there is.
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator: can't allocate memory" in str(error)


def peak_memory_mib(device: Device) -> int:
    """Peak memory of this process so far, in MiB: on a GPU what torch allocated there, otherwise main memory."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device)) >> 20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10  # Linux counts in KiB
