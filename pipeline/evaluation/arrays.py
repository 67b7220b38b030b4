"""What ranking asks of an array library, for NumPy on the CPU and torch on a GPU alike (the array API standard)."""

from __future__ import annotations

from typing import Any, TypeAlias

import array_api_compat
import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = Any
"""A NumPy array, or a tensor that some device holds: whatever `array_api_compat` knows."""


def namespace(*arrays: Array) -> Any:
    """The functions of the library that the arrays are of."""
    return array_api_compat.array_namespace(*arrays)


def to_numpy(array: Array) -> NDArray[Any]:
    """The array in the machine's own memory."""
    return np.asarray(array_api_compat.to_device(array, "cpu"))


def like(values: NDArray[Any], array: Array) -> Array:
    """Values as an array of the library, and in the place, of another one."""
    if isinstance(array, np.ndarray):
        return values
    return namespace(array).asarray(values, device=array_api_compat.device(array))


def count_above(similarity: Array, own: Array) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How many scores of each row are higher than the row's own one, and how many are equal to it.

    Args:
        similarity: Shape (num_rows, num_candidates).
        own: Shape (num_rows,).

    Returns:
        Both of shape (num_rows,).
    """
    if isinstance(similarity, np.ndarray):
        # Row by row: `count_nonzero` of one flat mask counts 32 of them at a time, with `axis=` it adds up integers.
        both = [
            (np.count_nonzero(row > mine), np.count_nonzero(row >= mine))
            for row, mine in zip(similarity, own, strict=True)
        ]
        above, at_least = np.asarray(both, np.int64).reshape(-1, 2).T
    else:
        xp = namespace(similarity)
        above, at_least = (
            to_numpy(xp.sum(compared, axis=1, dtype=xp.int64))
            for compared in (similarity > own[:, None], similarity >= own[:, None])
        )
    return above, at_least - above
