"""Exact search: the rows of a matrix that are most like a query, and scores that depend on the two vectors alone.

A matrix product is the quickest way to look at a million vectors. But its last bits depend on the rows and queries that
are multiplied together, and on the number of threads: equal vectors would not tie, and a query would score otherwise in
other company. So the product, with the most that its rounding can be off, only chooses candidates; each of these is
then scored by itself, with the products summed in float64 and the sum rounded to float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from store.arrays.reading import in_threads
from store.clips.reader import NUM_READ_THREADS

BLOCK_ROWS = 2048
"""Vectors that are multiplied at a time: with 512 numbers each, 4 MiB."""
MANY_QUERIES = 16
"""From so many on, matrices are multiplied, in blocks that are so many times as large: BLAS shares each among threads
of its own, and to wait for these costs."""
SCORES_AT_ONCE = 2**24
"""Scores in memory: 64 MiB. More queries than fit are answered in groups."""
RESCORED_AT_ONCE = 2**22
"""Numbers that are multiplied in float64 at a time."""

Floats = NDArray[np.float32]


class Candidates(Protocol):
    """What is searched: items, each with one or several vectors, of which the best counts."""

    @property
    def num_items(self) -> int:
        """How many."""

    @property
    def dim(self) -> int:
        """Of the vectors."""

    @property
    def vectors_an_item(self) -> int:
        """How many."""

    def products(self, items: slice, queries: Floats) -> Floats:
        """Scores of some items, as quickly as can be: shape (num_queries, items); not finite for one without vector."""

    def scores(self, items: NDArray[np.int64], query: Floats) -> Floats:
        """Scores of some items that depend on nothing but their vectors and the query's: shape (items,)."""


@dataclass(frozen=True, slots=True)
class Best:
    """The best items for one query, best first; of equal scores, the first item first."""

    items: NDArray[np.int64]
    scores: Floats


@dataclass(frozen=True, slots=True)
class Vectors:
    """Items of one vector each, of unit norm: shape (num_items, dim)."""

    rows: Floats

    @property
    def num_items(self) -> int:
        """See `Candidates`."""
        return len(self.rows)

    @property
    def dim(self) -> int:
        """See `Candidates`."""
        return int(self.rows.shape[1])

    @property
    def vectors_an_item(self) -> int:
        """See `Candidates`."""
        return 1

    def products(self, items: slice, queries: Floats) -> Floats:
        """See `Candidates`."""
        return products(self.rows[items], queries)

    def scores(self, items: NDArray[np.int64], query: Floats) -> Floats:
        """See `Candidates`."""
        return dots(self.rows[items], query)


@dataclass(frozen=True, slots=True)
class BestFrames:
    """Items of several frames each, of which the best counts."""

    frames: Floats | NDArray[np.float16]
    """Shape (num_items, num_frames, dim)."""
    norms: Floats
    """Shape (num_items, num_frames): NaN where there is no frame."""

    @property
    def num_items(self) -> int:
        """See `Candidates`."""
        return len(self.frames)

    @property
    def dim(self) -> int:
        """See `Candidates`."""
        return int(self.frames.shape[2])

    @property
    def vectors_an_item(self) -> int:
        """See `Candidates`."""
        return int(self.frames.shape[1])

    def products(self, items: slice, queries: Floats) -> Floats:
        """See `Candidates`."""
        block = self.frames[items]
        # (items, frames, dim) -> (items * frames, dim) -> (queries, items, frames)
        found = products(block.reshape(-1, self.dim), queries).reshape(len(queries), *block.shape[:2])
        # (queries, items); `fmax` passes over NaN, and gives it only for an item without any frame.
        return np.asarray(np.fmax.reduce(found / self.norms[items], axis=2))

    def scores(self, items: NDArray[np.int64], query: Floats) -> Floats:
        """See `Candidates`."""
        return np.asarray(np.fmax.reduce(cosines(self.frames[items], query), axis=1))


def best(candidates: Candidates, queries: Floats, passed: NDArray[np.bool_], top: int) -> list[Best]:
    """The best items of each query among those that passed the filters; what has no finite score is never among them.

    Args:
        candidates: What is searched.
        queries: Shape (num_queries, dim), unit norm.
        passed: Shape (num_items,).
        top: How many, at most.
    """
    # Queries of one group: each has a rough score for every item.
    at_once = max(1, SCORES_AT_ONCE // max(1, candidates.num_items))
    found: list[Best] = []
    for start in range(0, len(queries), at_once):
        group = queries[start : start + at_once]
        rough = _rough(candidates, group, passed)
        found += [_chosen(candidates, query, row, top) for query, row in zip(group, rough, strict=True)]
    return found


def products(rows: Floats | NDArray[np.float16], queries: Floats) -> Floats:
    """Inner products in float32: shape (num_queries, num_rows).

    One query after the other while the block is in the cache. `vecdot` reads as quickly as memory gives, 2.4 times as
    fast as OpenBLAS multiplies a matrix by a vector; from `MANY_QUERIES` on, its product of matrices is faster.
    """
    if rows.dtype == np.float16:
        # `_widened` rows are too small by 2**112; a power of two on the query makes up for it without rounding.
        rows, queries = _widened(rows.astype(np.float16, copy=False)), queries * np.float32(2.0**112)
    if len(queries) >= MANY_QUERIES:
        return np.asarray(queries @ rows.T)  # (num_queries, dim) @ (dim, num_rows)
    return np.stack([np.vecdot(rows, query) for query in queries])


def _widened(rows: NDArray[np.float16]) -> Floats:
    """Numbers in half precision as float32, divided by 2**112: seven times as fast as NumPy converts them.

    The exponent has five bits in the one format and eight in the other: moved as it is, it counts from another zero.
    NaN and infinity become numbers: `BestFrames.norms` knows which frames have them.

    >>> (_widened(np.array([1.5, -2, 6e-8], np.float16)) * np.float32(2.0**112)).tolist()
    [1.5, -2.0, 5.960464477539063e-08]
    """
    # float16: sign 1, exponent 5 (bias 15), fraction 10 bits; float32: 1, 8 (bias 127), 23. The fractions' tops meet
    # after a shift by 23 - 10 = 13; the biases differ by 127 - 15 = 112.
    bits = rows.view(np.int16).astype(np.int32)
    np.left_shift(bits, 13, out=bits)
    np.bitwise_and(bits, np.int32(-0x70002000), out=bits)  # the sign, which has filled the bits above, and the number
    return bits.view(np.float32)


def dots(rows: NDArray[np.generic], query: Floats) -> Floats:
    """Inner products of vectors and a query, summed in float64: shape (..., dim) to (...).

    NumPy sums along the last axis row by row, in an order that follows from its length alone.
    """
    return np.asarray((rows.astype(np.float64) * query.astype(np.float64)).sum(axis=-1), np.float32)


def cosines(frames: NDArray[np.generic], query: Floats) -> Floats:
    """As `dots`, of frames that are not of unit norm; NaN where there is none."""
    wide = frames.astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = (wide * query.astype(np.float64)).sum(axis=-1) / np.sqrt((wide * wide).sum(axis=-1))
    return np.asarray(np.where(np.isfinite(found), found, np.nan), np.float32)


def slack(dim: int) -> float:
    """The most by which a product of two unit vectors in float32 is off, in whatever order it is summed.

    Higham, Accuracy and Stability of Numerical Algorithms, section 3.1: n u / (1 - n u), with u of float32.
    """
    unit = (dim + 8) * 2.0**-24
    return unit / (1 - unit)


def _rough(candidates: Candidates, queries: Floats, passed: NDArray[np.bool_]) -> Floats:
    """Scores of all items by the quick way, -inf for those that are not to be found: shape (num_queries, num_items)."""
    scores = np.full((len(queries), candidates.num_items), -np.inf, np.float32)
    are_many = len(queries) >= MANY_QUERIES
    step = max(1, BLOCK_ROWS * (MANY_QUERIES if are_many else 1) // candidates.vectors_an_item)

    def score(number: int) -> None:
        block = slice(number * step, (number + 1) * step)
        if passed[block].any():
            scores[:, block] = candidates.products(block, queries)

    # One thread for many queries: BLAS brings its own. Each block writes its own columns, so that no lock is needed.
    in_threads(score, -(-candidates.num_items // step), 1 if are_many else NUM_READ_THREADS)
    # A block is scored as a whole if one of its items passed.
    scores[:, ~passed] = -np.inf
    # Not NaN: `np.partition` would sort it to the top.
    scores[~np.isfinite(scores)] = -np.inf
    return scores


def _chosen(candidates: Candidates, query: Floats, rough: Floats, top: int) -> Best:
    top = min(top, len(rough))
    if not top:
        return Best(np.empty(0, np.int64), np.empty(0, np.float32))
    lowest = np.partition(rough, -top)[-top]
    # Twice: the rough score of the item may be too low, and `lowest` too high, by the slack each.
    items = np.flatnonzero((rough >= lowest - 2 * slack(candidates.dim)) & (rough > -np.inf))
    step = max(1, RESCORED_AT_ONCE // (candidates.dim * 16))
    parts = [candidates.scores(items[start : start + step], query) for start in range(0, len(items), step)]
    scores = np.concatenate([np.empty(0, np.float32), *parts])
    # `items` ascend, and stable sorting keeps that order among equal scores.
    order = np.argsort(-scores, kind="stable")[:top]
    return Best(items[order], scores[order])
