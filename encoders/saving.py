"""Files of tensors, written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from encoders.replacing import replacing


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors, of any device, as a safetensors file.

    Raises:
        OSError: It cannot be written: the disk is full, say.
    """
    kept = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with replacing(path) as temporary, _as_os_error(path):
        safetensors.torch.save_file(kept, temporary, metadata=None if metadata is None else dict(metadata))


def save_pickled(path: Path, entries: object) -> None:
    """Write what `torch.load` reads.

    Raises:
        OSError: It cannot be written.
    """
    with replacing(path) as temporary, _as_os_error(path):
        torch.save(entries, temporary)


@contextmanager
def _as_os_error(path: Path) -> Iterator[None]:
    """These libraries have errors of their own for a full disk, which are no bugs of the program that calls them."""
    try:
        yield
    except (safetensors.SafetensorError, RuntimeError) as error:
        free = os.statvfs(path.parent)
        mib = free.f_bavail * free.f_frsize / 2**20
        raise OSError(f"cannot write {path}: {error}; {mib:,.0f} MiB are free there") from error
