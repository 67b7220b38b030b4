"""Several processes that train one model, each on its device, as `torchrun` starts them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

_Value = TypeVar("_Value")

_PATIENCE = timedelta(minutes=30)
"""For which a process waits for the others: one of them may be writing a checkpoint."""


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process among those that train together."""

    rank: int = 0
    world_size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes and speaks for all."""
        return self.rank == 0

    def share(self, count: int) -> slice:
        """Which of `count` things fall to this process: shares lie side by side and differ by one at most.

        >>> [Ranks(rank, 3).share(8) for rank in range(3)]
        [slice(0, 2, None), slice(2, 5, None), slice(5, 8, None)]
        """
        return slice(count * self.rank // self.world_size, count * (self.rank + 1) // self.world_size)

    def gather(self, rows: Tensor, count: int) -> Tensor:
        """The rows of all processes, in order, where each has its share of `count` of them."""
        if self.world_size == 1:
            return rows
        sizes = [_length(Ranks(rank, self.world_size).share(count)) for rank in range(self.world_size)]
        padded = rows.new_zeros((max(sizes), *rows.shape[1:]))
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(parts, padded)
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])

    def add_up(self, values: Tensor) -> None:
        """Replace a tensor by its sum over all processes."""
        if self.world_size > 1:
            dist.all_reduce(values)

    def collect(self, value: _Value) -> Sequence[_Value]:
        """A value of each process, in order."""
        if self.world_size == 1:
            return [value]
        values: list[_Value | None] = [None] * self.world_size
        dist.all_gather_object(values, value)
        return values  # type: ignore[return-value]  # each is filled now


ALONE = Ranks()


def _length(part: slice) -> int:
    return int(part.stop - part.start)


@contextmanager
def joined_ranks(device: torch.device) -> Iterator[Ranks]:
    """Join the processes that `torchrun` started with this one, if it did.

    Tensors on GPUs go through NCCL, which wants each process to stand at its own; all else goes through gloo.

    Raises:
        RuntimeError: the others cannot be reached.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield ALONE
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
        dist.init_process_group("cpu:gloo,cuda:nccl", timeout=_PATIENCE, device_id=device)
    else:
        dist.init_process_group("gloo", timeout=_PATIENCE)
    try:
        yield Ranks(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()
