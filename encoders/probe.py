"""What torch finds on this machine, and why it uses no GPU where it does not: for `fda doctor`."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from encoders.devices import computes_bf16, find_device
from encoders.errors import first_line


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU that torch can use."""

    device: str
    """As `--device` takes it."""
    name: str
    total_bytes: int
    free_bytes: int
    computes_bf16: bool


@dataclass(frozen=True, slots=True)
class TorchFound:
    """What torch finds on this machine."""

    version: str
    build: str
    """`CUDA 12.6`, `ROCm 6.3` or `CPU`: what it was built for."""
    auto: str
    """The device that `--device auto` takes."""
    auto_computes_bf16: bool
    gpus: tuple[Gpu, ...]
    why_no_gpu: str | None
    """What torch says where it was built for GPUs and finds none; None if it was not, or finds some."""
    has_mps: bool
    """Whether it can use Apple's GPU."""


def look_for_devices() -> TorchFound:
    """What torch finds on this machine."""
    why_no_gpu = _why_no_gpu()
    gpus = tuple(_gpu(number) for number in range(torch.cuda.device_count())) if why_no_gpu is None else ()
    auto = find_device("auto")
    return TorchFound(
        version=str(torch.__version__),
        build=_build(),
        auto=str(auto),
        auto_computes_bf16=computes_bf16(auto),
        gpus=gpus,
        why_no_gpu=why_no_gpu,
        has_mps=torch.backends.mps.is_available(),
    )


def _build() -> str:
    if torch.version.hip is not None:
        return f"ROCm {torch.version.hip}"
    return "CPU" if torch.version.cuda is None else f"CUDA {torch.version.cuda}"


def _why_no_gpu() -> str | None:
    if _build() == "CPU":
        return None
    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]
    except Exception as error:  # of many classes: a driver that is too old, none at all, a device that is broken
        return first_line(error)
    return None


def _gpu(number: int) -> Gpu:
    device = torch.device("cuda", number)
    free_bytes, total_bytes = torch.cuda.mem_get_info(device)
    return Gpu(str(device), torch.cuda.get_device_name(device), total_bytes, free_bytes, computes_bf16(device))
