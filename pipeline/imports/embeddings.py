"""Embeddings of videos, of their frames or of texts, each with the id of what it is of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError


@dataclass(frozen=True, slots=True, eq=False)
class Embeddings:
    """One embedding an id, or one for each frame of an id.

    >>> Embeddings(np.eye(2), ids=("a", "b")).frames_of(1).tolist()
    [[0.0, 1.0]]
    """

    values: NDArray[np.generic] | Sequence[NDArray[np.generic]]
    """Shape (num_ids, dim); or shape (num_ids, num_frames, dim), NaN for a frame that there is not; or a sequence of
    num_ids arrays of shape (num_frames, dim), if these numbers differ."""
    ids: Sequence[str] | None = None
    """The id of each; None: they are in the order of the store's catalogue."""
    source: str = "arrays"
    """Where they are from, for messages."""

    def __post_init__(self) -> None:
        if not isinstance(self.values, Sequence) and not np.ndim(self.values):
            raise InputError(f"{self.source}: embeddings must be an array of rows, got a single number")
        if not len(self.values):
            raise InputError(f"{self.source}: there are no embeddings")
        self.frames_of(0)
        if self.ids is not None and len(self.ids) != len(self.values):
            raise InputError(f"{self.source}: there are {len(self.values)} embeddings and {len(self.ids)} ids")

    def __len__(self) -> int:
        return len(self.values)

    @property
    def dim(self) -> int:
        """Numbers of an embedding."""
        return int(self.values[0].shape[-1])

    @property
    def are_frames(self) -> bool:
        """Whether an id has one embedding a frame."""
        return self.values[0].ndim == 2

    def frames_of(self, index: int) -> NDArray[np.float32]:
        """The embeddings of one id: shape (num_frames, dim), or (1, dim).

        Raises:
            InputError: They are not such an array.
        """
        rows = np.asarray(self.values[index])
        if rows.ndim not in (1, 2) or rows.dtype.kind not in "fiu" or rows.shape[-1] == 0:
            raise InputError(
                f"{self.source}: an embedding must be numbers of shape (dim,), or (frames, dim), got {rows.dtype} of "
                f"shape {rows.shape}"
            )
        if rows.shape[-1] != self.dim:
            raise InputError(f"{self.source}: embedding {index} has {rows.shape[-1]} numbers, the first {self.dim}")
        return np.atleast_2d(rows).astype(np.float32)
