"""Scores of texts and videos, some rows of the matrix at a time: the whole matrix is never in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.evaluation.scores.backend import Array, Rows, index, like
from pipeline.evaluation.scores.equal import EqualRows, Strip
from pipeline.run.words import plural

Put = Callable[[NDArray[np.float32]], Array]
"""Moves an array to the device that computes."""


class Tiles(Protocol):
    """Scores of texts and videos, a rectangle at a time: the higher, the more alike.

    Candidates with equal embeddings score equally to the bit with every query, in whichever tile, if equal videos are
    in one strip, or alone in theirs (`pipeline.evaluation.grid`).
    """

    @property
    def num_texts(self) -> int:
        """Number of texts."""

    @property
    def num_videos(self) -> int:
        """Number of videos."""

    @property
    def first_videos(self) -> NDArray[np.int64]:
        """Shape (num_videos,): the first video that equals each of them, most often itself."""

    def strip(self, videos: Rows) -> Strip:
        """Scores of some videos with all texts, some texts at a time."""


class Scores(Tiles, Protocol):
    """Scores of which whole rows may be asked for, too.

    They may differ from those of tiles in the last bits, but those of equal candidates are equal here as well.
    """

    def of_texts(self, rows: slice) -> Array:
        """Scores of some texts with all videos: float32, shape (number of these texts, num_videos)."""

    def of_videos(self, rows: slice) -> Array:
        """Scores of some videos with all texts: float32, shape (number of these videos, num_texts)."""


class DotScores:
    """Inner products of embeddings: cosines, if their rows are of unit norm.

    Candidates whose embeddings are equal bit by bit score equally, in whichever rows. A matrix product alone does not
    guarantee that: BLAS sums edge rows and columns in another order (OpenBLAS' Haswell kernels gave equal rows unequal
    scores in more than half of 3,000 random shapes). So the score of a repeated row is computed once and copied. Scores
    of different rows may still differ in their last bits between machines, and with them the order of two videos that
    are closer than that.
    """

    def __init__(self, text: NDArray[np.float32], video: NDArray[np.float32], put: Put = lambda array: array) -> None:
        """Check embeddings and move them to the device.

        Args:
            text: Shape (num_texts, dim).
            video: Shape (num_videos, dim).
            put: Moves them to a device.

        Raises:
            ValueError: A shape or dtype is wrong, or rows cannot be scored (NaN, infinite, all zero); the message has
                their number and the first of them.
        """
        check_embeddings("text", text)
        check_embeddings("video", video)
        if text.shape[1] != video.shape[1]:
            raise InputError(
                f"embeddings of texts have {text.shape[1]} dimensions and those of videos {video.shape[1]}: they are "
                "of two models"
            )
        self.num_texts, self.num_videos = len(text), len(video)
        self._text, self._video = put(text), put(video)
        self._equal = EqualRows.of(text, video)

    @property
    def first_videos(self) -> NDArray[np.int64]:
        """See `Tiles`."""
        return self._equal.first_videos

    def strip(self, videos: Rows) -> Strip:
        """See `Tiles`."""
        memory = Memory()

        def product(videos: Rows, texts: Rows) -> Array:
            video, text = index(self._video, videos), index(self._text, texts)
            if isinstance(video, np.ndarray):
                return np.matmul(video, text.T, out=memory.of(len(video), len(text)))
            return video @ text.T

        return self._equal.strip(product, videos)

    def of_texts(self, rows: slice) -> Array:
        """See `Scores`."""
        return copied(self._text[rows] @ self._video.T, self._equal.first_videos)

    def of_videos(self, rows: slice) -> Array:
        """See `Scores`."""
        return copied(self._video[rows] @ self._text.T, self._equal.first_texts)


class Memory:
    """Memory for one product after the other. New memory for each, which the system must clear, takes 5% longer."""

    def __init__(self) -> None:
        """Hold nothing yet."""
        self._flat = np.empty(0, np.float32)

    def of(self, num_rows: int, num_columns: int) -> NDArray[np.float32]:
        """A matrix without values, in the memory of the one before it if that is large enough."""
        size = num_rows * num_columns
        if len(self._flat) < size:
            self._flat = np.empty(size, np.float32)
        return self._flat[:size].reshape(num_rows, num_columns)


def copied(scores: Array, first: NDArray[np.int64]) -> Array:
    """Scores, in place, with those of each column from the first column that equals it."""
    again = np.flatnonzero(first != np.arange(len(first)))
    if len(again):
        scores[:, like(again, scores)] = scores[:, like(first[again], scores)]
    return scores


def check_embeddings(name: str, embeddings: NDArray[np.float32]) -> None:
    """Refuse rows that have no direction, and rows whose inner products could overflow float32.

    Raises:
        ValueError: See `DotScores`.
    """
    if embeddings.dtype != np.float32 or embeddings.ndim != 2 or not embeddings.size:
        raise ValueError(
            f"{name} embeddings must be float32 of shape (rows, dim) with at least one of each, "
            f"got {embeddings.dtype} of shape {embeddings.shape}"
        )
    squares = np.einsum("ij,ij->i", embeddings, embeddings)  # |<a, b>|^2 <= <a, a> <b, b>
    for what, wrong in (("NaN, infinite or too large", ~np.isfinite(squares)), ("zero or vanishing", squares == 0)):
        rows = np.flatnonzero(wrong)
        if len(rows):
            first = ", ".join(map(str, rows[:5])) + (", ..." if len(rows) > 5 else "")
            raise InputError(
                f"{name} embeddings: {len(rows)} of {plural(len(embeddings), 'row')} are {what} (rows {first}); "
                "encode them again, or leave out these texts or videos and report that"
            )
