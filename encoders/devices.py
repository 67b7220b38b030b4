"""Where a model runs."""

from __future__ import annotations

import torch

from encoders.model import AlphaClip


def move_to(model: AlphaClip, device: str) -> str:
    """Move a model to a device, and return the device's name.

    Args:
        model: moved in place.
        device: "auto" (a GPU where there is one, else the CPU), or one of torch's names: "cpu", "cuda", "cuda:1".

    Raises:
        ValueError: torch has no such device here.
    """
    chosen = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    try:
        model.to(torch.device(chosen))
    except (RuntimeError, AssertionError) as error:  # torch without CUDA asserts
        raise ValueError(f"cannot use device {device!r}: {str(error).splitlines()[0]}") from error
    return chosen
