"""Array functions of ranking, for NumPy on the CPU and torch on a GPU alike (the array API standard).

NumPy has paths of its own where they were measured to be faster; the others use the standard alone.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import array_api_compat
import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = Any
"""A NumPy array, a tensor on a device, or another array that `array_api_compat` supports."""


def namespace(*arrays: Array) -> Any:
    """The array API functions of the library of these arrays."""
    return array_api_compat.array_namespace(*arrays)


def to_numpy(array: Array) -> NDArray[Any]:
    """The array as a NumPy array, copied from its device if needed."""
    return np.asarray(array_api_compat.to_device(array, "cpu"))


def like(values: NDArray[Any], array: Array) -> Array:
    """Values as an array of the same library, and on the same device, as another one."""
    if isinstance(array, np.ndarray):
        return values
    return namespace(array).asarray(values, device=array_api_compat.device(array))


def own_scores(similarity: Array, own: NDArray[np.int64]) -> Array:
    """One score of each row: the one in the column given for it."""
    return similarity[like(np.arange(len(own)), similarity), like(own, similarity)]


def take_columns(similarity: Array, columns: NDArray[np.int64]) -> Array:
    """Some columns, in the order given."""
    if isinstance(similarity, np.ndarray):
        # Three times as fast as indexing, which goes down the rows.
        return np.take(similarity, columns, axis=1, mode="clip")
    return similarity[:, like(columns, similarity)]


def highest_of_each(similarity: Array, starts: NDArray[np.int64]) -> Array:
    """The highest score of each group of adjacent columns; NaN if one of them is NaN.

    Args:
        similarity: Shape (num_rows, num_columns).
        starts: Shape (num_groups,): the first column of each group, ascending from 0; none is empty.

    Returns:
        Shape (num_rows, num_groups).

    >>> highest_of_each(np.array([[1, 5, 3, 2]]), np.array([0, 1]))
    array([[1, 5]])
    """
    num_columns = similarity.shape[1]
    if len(starts) == num_columns:
        return similarity
    if isinstance(similarity, np.ndarray):
        return np.maximum.reduceat(similarity, starts, axis=1)
    # Other libraries have no `reduceat`. After each step, column `i` has the highest of 1, 2, 4, ... columns from `i`
    # on, within its group, so that a group of n columns needs log2(n) steps.
    xp = namespace(similarity)
    highest = xp.asarray(similarity, copy=True)
    lengths = np.diff(starts, append=num_columns)
    num_left = np.repeat(starts + lengths, lengths) - np.arange(num_columns)
    reach = 1
    while reach < lengths.max():
        here, there = highest[:, :-reach], highest[:, reach:]
        highest[:, :-reach] = xp.where(like(num_left[:-reach] > reach, here), xp.maximum(here, there), here)
        reach *= 2
    return take_columns(highest, starts)


_WIDE = 2**13
"""From this number of candidates on, it is faster to count row by row."""


def count_above(similarity: Array, own: Array) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How many scores of each row are higher than its own score, and how many are equal to it.

    Args:
        similarity: Shape (num_rows, num_candidates).
        own: Shape (num_rows,).

    Returns:
        Both of shape (num_rows,).

    >>> count_above(np.array([[3, 1, 3, 4]]), np.array([3]))
    (array([1]), array([2]))
    """
    xp = namespace(similarity)
    compare = (xp.greater, xp.greater_equal)
    if not isinstance(similarity, np.ndarray):
        above, at_least = (to_numpy(xp.sum(one(similarity, own[:, None]), axis=1, dtype=xp.int64)) for one in compare)
    elif similarity.shape[1] < _WIDE:
        # Twice as fast to sum bytes in 32 bits as booleans in 64.
        above, at_least = (
            np.add.reduce(one(similarity, own[:, None]).view(np.uint8), axis=1, dtype=np.uint32).astype(np.int64)
            for one in compare
        )
    else:
        above, at_least = np.empty((2, len(similarity)), np.int64)
        holds = np.empty(similarity.shape[1], np.bool_)
        for number, (row, mine) in enumerate(zip(similarity, own, strict=True)):
            above[number] = np.count_nonzero(np.greater(row, mine, out=holds))
            at_least[number] = np.count_nonzero(np.greater_equal(row, mine, out=holds))
    return above, at_least - above
