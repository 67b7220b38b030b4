"""Embeddings on the device that scores them, in full float32, for code that does not import torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from encoders.devices import find_device
from encoders.errors import DeviceError


@dataclass(frozen=True, slots=True)
class Placement:
    """Where scores are computed."""

    put: Callable[[NDArray[np.float32]], Any]
    """NumPy array -> what the device holds: a float32 tensor; on the CPU the array itself: NumPy is as fast."""
    device: str
    """In words, for a report: "cpu", or "cuda:0 (NVIDIA H100 80GB HBM3)"."""


def place(device: str) -> Placement:
    """Find where to score.

    On a GPU, torch is told not to round to TF32: its 10 bits would tie or swap scores that differ in float32. This
    setting holds for the whole process, from here on.

    Args:
        device: "auto" (a GPU if there is one, otherwise the CPU), or one of torch's names: "cpu", "cuda", "cuda:1".

    Raises:
        ValueError: torch has no such device here.
    """
    chosen = find_device(device)
    if chosen.type == "cpu":
        return Placement(lambda array: array, "cpu")
    try:
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError) as error:  # torch without CUDA asserts
        raise DeviceError.of(device, error) from error
    torch.set_float32_matmul_precision("highest")
    name = f" ({torch.cuda.get_device_name(chosen)})" if chosen.type == "cuda" else ""
    return Placement(lambda array: put_on(array, chosen), f"{chosen}{name}")


def put_on(array: NDArray[np.float32], device: torch.device) -> torch.Tensor:
    """A copy of an array as a float32 tensor."""
    return torch.tensor(array, dtype=torch.float32, device=device)
