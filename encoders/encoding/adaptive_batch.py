"""Batches as large as the memory of the device allows."""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch
from torch import Tensor

from encoders.devices import is_out_of_memory
from encoders.errors import DeviceMemoryError, first_line

_log = logging.getLogger(__name__)


class AdaptiveBatch:
    """How many rows are encoded at once on a device: halved when memory runs out, and never raised again."""

    def __init__(self, size: int, device: torch.device) -> None:
        """Begin with `size` rows at once."""
        self.size = size
        self._device = device

    def encode(self, count: int, encode: Callable[[slice], Tensor]) -> list[tuple[slice, Tensor]]:
        """Encode the rows `[0, count)`, `size` at once.

        Args:
            count: number of rows.
            encode: encodes the rows of a slice, of at most `size`.

        Returns:
            Each slice with what `encode` gave for it, in order.

        Raises:
            MemoryError: not even one row fits into the memory of the device.
        """
        done, parts = 0, []
        while done < count:
            batch = slice(done, min(done + self.size, count))
            try:
                parts.append((batch, encode(batch)))
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                if self.size == 1:
                    raise DeviceMemoryError(
                        f"{self._device} has too little memory for this model: {first_line(error)}"
                    ) from error
            else:
                done = batch.stop
                continue
            # After the `except`: while it lasts, the error's traceback keeps the tensors of the failed attempt alive.
            self._halve(batch.stop - batch.start)
        return parts

    def _halve(self, num_rows: int) -> None:
        before = self.size
        # The last batch may be smaller than the size: half of the size could then be the same batch again.
        self.size = max(1, min(before, num_rows) // 2)
        _log.warning("out of memory with %d at once: continuing with %d", before, self.size)
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
