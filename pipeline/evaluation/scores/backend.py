"""Array functions of ranking, for NumPy on the CPU and torch on a GPU alike (the array API standard).

NumPy has paths of its own where they were measured to be faster; the others use the standard alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

import array_api_compat
import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = Any
"""A NumPy array, a tensor on a device, or another array that `array_api_compat` supports."""

Rows: TypeAlias = slice | NDArray[np.int64]
"""Some rows, by a slice, which takes no copy, or by their numbers."""


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


def rows_of(numbers: NDArray[np.int64]) -> Rows:
    """Rows with these numbers, as a slice if each is one more than the one before it.

    >>> rows_of(np.array([3, 4, 5])), rows_of(np.array([3, 5]))
    (slice(3, 6, None), array([3, 5]))
    """
    if not len(numbers) or bool((np.diff(numbers) != 1).any()):
        return numbers
    return slice(int(numbers[0]), int(numbers[0]) + len(numbers))


def index(array: Array, rows: Rows) -> Array:
    """Some rows of an array."""
    return array[rows if isinstance(rows, slice) else like(rows, array)]


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


_PART_SCORES = 2**18
"""Scores that are counted at once: 1 MiB of float32, which stays in a cache for all comparisons."""
_MOST_BYTES = 255
"""Ones that a byte can sum."""


def parts(similarity: Array) -> Iterator[slice]:
    """Slices of rows to count one after the other."""
    num_rows, num_columns = similarity.shape
    size = min(_MOST_BYTES, max(1, _PART_SCORES // num_columns)) if isinstance(similarity, np.ndarray) else num_rows
    for start in range(0, num_rows, size):
        yield slice(start, min(start + size, num_rows))


def count_above(similarity: Array, own: NDArray[Any], axis: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How many scores of each row, or column, are higher than its own score, and how many at least as high.

    Args:
        similarity: Shape (num_rows, num_columns).
        own: Shape (num_rows,) or (num_columns,), in the precision of `similarity`: where they differ, none is equal.
        axis: 1: count in rows; 0: count in columns.

    Returns:
        Both of the shape of `own`.

    >>> count_above(np.array([[3, 1, 3, 4], [5, 0, 0, 0]]), np.array([3, 0]), 1)
    (array([1, 1]), array([3, 4]))
    >>> count_above(np.array([[3, 1, 3, 4], [5, 0, 0, 0]]), np.array([3, 0, 3, 0]), 0)
    (array([1, 1, 0, 1]), array([2, 2, 1, 2]))
    """
    xp = namespace(similarity)
    scores = like(own, similarity)
    if axis == 1:
        scores = scores[:, None]
    if not isinstance(similarity, np.ndarray):
        above, at_least = (
            to_numpy(xp.sum(compare(similarity, scores), axis=axis, dtype=xp.int64))
            for compare in (xp.greater, xp.greater_equal)
        )
        return above, at_least
    # NumPy sums booleans one by one. Eight of them are a word here, and sums of words are eight sums of bytes: a
    # tenth of the time of a comparison, where `count_nonzero` takes longer than it.
    num_rows, num_columns = similarity.shape
    holds = np.empty((num_rows, -(-num_columns // 8) * 8), np.bool_)
    holds[:, num_columns:] = False
    counts = []
    for compare in (np.greater, np.greater_equal):
        compare(similarity, scores, out=holds[:, :num_columns])
        counts.append(_sum_of_bytes(holds.view(np.uint64), axis)[: len(own)])
    return counts[0], counts[1]


def _sum_of_bytes(words: NDArray[np.uint64], axis: int) -> NDArray[np.int64]:
    """Sums of the bytes of words, all 0 or 1, over each row, or of each byte over all rows."""
    total: NDArray[np.int64] = np.zeros(len(words) if axis == 1 else 8 * words.shape[1], np.int64)
    for start in range(0, words.shape[axis], _MOST_BYTES):  # no byte may overflow into the next
        stop = start + _MOST_BYTES
        if axis == 1:
            eight = np.add.reduce(words[:, start:stop], axis=1).view(np.uint8).reshape(-1, 8)
            total += eight.sum(axis=1, dtype=np.int64)
        else:
            total += np.add.reduce(words[start:stop], axis=0).view(np.uint8)
    return total
