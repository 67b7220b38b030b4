"""Where a model would run: torch, the GPUs that it finds, and why it uses none."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.doctor.checks import Check, State

if TYPE_CHECKING:
    from encoders import probe

GROUP = "devices"
_CHOOSE_BUILD = "install a build of torch for it: https://pytorch.org/get-started/locally"


def check(place: str | None) -> Iterator[Check]:
    """Import torch, and ask it for its devices."""
    from encoders import probe  # here, so that an error of the import is a row

    found = probe.look_for_devices()
    yield Check("software", "torch", State.OK, f"{found.version}, built for {found.build}")
    yield from _gpus(found)
    precision = "bf16 if a short test shows it faster and as good, else fp32" if found.auto_computes_bf16 else "fp32"
    has = "has" if found.auto_computes_bf16 else "has no"
    text = f"{found.auto} {has} instructions for bf16"
    yield Check(GROUP, "precision", State.OK, text, used=f"--device auto: {found.auto}; --precision auto: {precision}")


def _gpus(found: probe.TorchFound) -> Iterator[Check]:
    for gpu in found.gpus:
        free, total = gpu.free_bytes / 2**30, gpu.total_bytes / 2**30
        text = f"{gpu.name}, {total:,.0f} GiB, {free:,.0f} GiB of it free{'' if gpu.computes_bf16 else '; no bf16'}"
        if free < total / 2:
            remedy = "another process uses it: `nvidia-smi` shows which"
            yield Check(GROUP, gpu.device, State.WARNING, text, remedy=remedy)
        else:
            yield Check(GROUP, gpu.device, State.OK, text)
    if found.has_mps:
        yield Check(GROUP, "mps", State.OK, "Apple's GPU", used="with --device mps alone: auto is the CPU here")
    if found.gpus:
        return
    driver = _driver()
    if found.why_no_gpu is not None:
        yield Check(GROUP, "GPU", State.WARNING, f"none is used: {found.why_no_gpu}", remedy=_remedy(found, driver))
    elif driver is not None:
        text = f"none is used: there is {driver}, and this torch is built for the CPU alone"
        yield Check(GROUP, "GPU", State.WARNING, text, remedy=_CHOOSE_BUILD)
    elif not found.has_mps:
        text = "none: no driver was found, and this torch is built for the CPU alone"
        yield Check(GROUP, "GPU", State.OPTIONAL, text, remedy="to train and encode fast, use a machine with a GPU")


def _remedy(found: probe.TorchFound, driver: str | None) -> str:
    """What to do where torch is built for GPUs and finds none."""
    for name in ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES"):
        if name in os.environ:
            return f"{name} is {os.environ[name]!r}, which hides GPUs: unset it"
    if driver is None:
        return "install the driver; in a container, start it with its GPUs (docker run --gpus all)"
    return f"there is {driver}: install a newer one, or a torch for an older {found.build.split()[0]}"


def _driver() -> str | None:
    """Of a GPU that torch may or may not know how to use."""
    try:
        first = Path("/proc/driver/nvidia/version").read_text().splitlines()[0]
    except (OSError, IndexError, UnicodeDecodeError):
        first = ""
    if first:
        return f"NVIDIA's driver ({first.removeprefix('NVRM version:').strip()})"
    if shutil.which("nvidia-smi") or Path("/dev/nvidiactl").exists():
        return "NVIDIA's driver"
    return "AMD's driver (/dev/kfd)" if Path("/dev/kfd").exists() else None
