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

_WRITER_OF_TORCH = "inline_container"
"""The file of torch's code that writes archives; its errors name it."""


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors, of any device, as a safetensors file.

    Raises:
        OSError: It cannot be written: the disk is full, say.
    """
    kept = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with replacing(path) as temporary, _full_disks(path):
        safetensors.torch.save_file(kept, temporary, metadata=None if metadata is None else dict(metadata))


def save_pickled(path: Path, entries: object) -> None:
    """Write what `torch.load` reads.

    Raises:
        OSError: It cannot be written.
    """
    with replacing(path) as temporary, _full_disks(path):
        torch.save(entries, temporary)


@contextmanager
def _full_disks(path: Path) -> Iterator[None]:
    """These libraries have errors of their own for a full disk, which are no bugs of the program that calls them.

    torch raises `RuntimeError` for bugs too: only what its writer of files raises is meant.
    """
    try:
        yield
    except (safetensors.SafetensorError, RuntimeError) as error:
        if not isinstance(error, safetensors.SafetensorError) and _WRITER_OF_TORCH not in str(error):
            raise
        free = os.statvfs(path.parent)
        mib = free.f_bavail * free.f_frsize / 2**20
        raise OSError(f"cannot write {path}: {error}; {mib:,.0f} MiB are free there") from error
