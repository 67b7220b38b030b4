"""Approximate search: 8-bit copies of all vectors choose, the exact vectors of those chosen decide.

Numbers of 8 bits take a quarter of the memory of float32, and `usearch` compares them with the instructions that
processors have for them. Each vector is scaled to use all 255 values: the cosine does not mind. Nothing is built: every
copy is looked at. What is lost is a video whose copy is further down than `shortlisted` says; docs/search.md says how
often that happens.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError
from store.remedies import install_extra

Floats = NDArray[np.float32]


def shortlisted(top: int) -> int:
    """How many videos are chosen by their copies to find the best `top`.

    >>> shortlisted(1), shortlisted(50)
    (200, 1000)
    """
    return max(200, 20 * top)


@dataclass(frozen=True, slots=True)
class Coarse:
    """8-bit copies of the vectors of a split."""

    rows: NDArray[np.int64]
    """Shape (num_videos,): the row in its split of each video with features, ascending."""
    copies: NDArray[np.int8]
    """Shape (num_videos, dim)."""

    @classmethod
    def of(cls, parts: Iterable[tuple[int, Floats]], num_rows: int, dim: int) -> Coarse:
        """Copy vectors.

        Args:
            parts: The first row of each part, and its vectors: shape (videos, dim), NaN for one without.
            num_rows: Of all.
            dim: Of the vectors.
        """
        rows, copies, count = np.empty(num_rows, np.int64), np.empty((num_rows, dim), np.int8), 0
        for first, part in parts:
            # A row without features is NaN throughout, so that its first number tells.
            there = np.flatnonzero(~np.isnan(part[:, 0]))
            rows[count : count + len(there)] = first + there
            copies[count : count + len(there)] = _copied(part[there])
            count += len(there)
        # Views of arrays that were made for all rows: how many have features is known only now.
        return cls(rows[:count], copies[:count])

    def likeliest(self, query: Floats, passed: NDArray[np.bool_], top: int) -> NDArray[np.int64]:
        """Positions of the videos that are likely to be the best, ascending.

        Args:
            query: Shape (dim,).
            passed: Shape (num_videos,): which may be found.
            top: How many are wanted of them in the end.

        Raises:
            InputError: usearch is not installed.
        """
        exact, kinds = usearch_here()
        places = np.flatnonzero(passed)
        # All would be chosen: the exact vectors decide alone.
        if len(places) <= shortlisted(top):
            return places
        # Without filters the copies are searched where they lie; indexing would copy all of them.
        copies = self.copies if len(places) == len(self.copies) else self.copies[places]
        found = exact(copies, _copied(query[None])[0], shortlisted(top), kinds.Cos, exact=True)
        # Ascending, so that of equal exact scores the first row comes first, as in an exact search.
        return np.sort(places[np.asarray(found.keys, np.int64)])


def _copied(vectors: Floats) -> NDArray[np.int8]:
    """Each vector scaled so that its largest number is 127."""
    largest = np.abs(vectors).max(axis=1, keepdims=True)
    # A vector of zeros divides by 0 and becomes NaN, which would be any number as int8.
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.nan_to_num(np.rint(vectors * (127 / largest))), np.int8)


def usearch_here() -> tuple[Any, Any]:
    """The search and the kinds of distances of usearch.

    Raises:
        InputError: It is not installed.
    """
    try:
        from usearch.index import MetricKind, search
    except ImportError as error:
        raise InputError(
            f"an approximate search needs usearch ({error}): {install_extra('usearch')}, or search exactly"
        ) from error
    return search, MetricKind
