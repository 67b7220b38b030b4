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

from encoders.errors import ProcessesError, first_line

_Value = TypeVar("_Value")

_PATIENCE = timedelta(minutes=30)
"""How long a process waits for the others: the first may be writing a checkpoint meanwhile."""


@dataclass(frozen=True, slots=True)
class Processes:
    """This process among those that train together."""

    rank: int = 0
    world_size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes files and prints for all."""
        return self.rank == 0

    def share(self, count: int) -> slice:
        """Which rows of `[0, count)` this process works on."""
        return nth_share(self.rank, self.world_size, count)

    def gather(self, rows: Tensor, count: int) -> Tensor:
        """Join the rows of all processes, in order, when each has its share of `count` rows."""
        if self.world_size == 1:
            return rows
        shares = [nth_share(rank, self.world_size, count) for rank in range(self.world_size)]
        sizes = [int(share.stop - share.start) for share in shares]
        # all_gather takes tensors of one shape only, and shares differ by one row.
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
        """Give every process the values of all processes, in order."""
        if self.world_size == 1:
            return [value]
        values: list[_Value | None] = [None] * self.world_size
        dist.all_gather_object(values, value)
        return values  # type: ignore[return-value]  # each is filled now


ALONE = Processes()


def nth_share(number: int, num_shares: int, count: int) -> slice:
    """Which rows of `[0, count)` are in one share: shares lie side by side, and their sizes differ by one at most.

    >>> [nth_share(number, 3, 8) for number in range(3)]
    [slice(0, 2, None), slice(2, 5, None), slice(5, 8, None)]
    """
    return slice(count * number // num_shares, count * (number + 1) // num_shares)


@contextmanager
def joined_processes(device: torch.device) -> Iterator[Processes]:
    """Join the processes that `torchrun` started together with this one; without `torchrun`, there is this one alone.

    Tensors on GPUs go through NCCL, which needs a GPU of its own for each process; all others go through gloo.

    Raises:
        ProcessesError: the others cannot be reached.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield ALONE
        return
    try:
        if device.type == "cuda":
            torch.cuda.set_device(device)
            dist.init_process_group("cpu:gloo,cuda:nccl", timeout=_PATIENCE, device_id=device)
        else:
            dist.init_process_group("gloo", timeout=_PATIENCE)
    except (RuntimeError, ValueError) as error:  # of torch: a variable of torchrun's is missing, or a peer is not there
        raise ProcessesError(
            f"the processes of this training cannot reach each other: {first_line(error)}. Start them with "
            "torchrun, or unset WORLD_SIZE to train in one process"
        ) from error
    try:
        yield Processes(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()
