"""Scores of texts and videos, some rows of the matrix at a time: the whole matrix is never in memory."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.evaluation.scores.backend import Array, like
from pipeline.run.words import plural

Put = Callable[[NDArray[np.float32]], Array]
"""Moves an array to the device that computes."""


class Scores(Protocol):
    """Scores of texts and videos: the higher, the more alike.

    Candidates with equal embeddings score equally to the bit with every query, in whichever block. `of_texts` and
    `of_videos` are two definitions: their scores of a pair may differ in the last bits, or by more if scores are
    changed for one direction (dual softmax).
    """

    @property
    def num_texts(self) -> int:
        """Number of texts."""

    @property
    def num_videos(self) -> int:
        """Number of videos."""

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
        self._text_copies, self._video_copies = (
            tuple(like(rows, put_there) for rows in copies(embeddings))
            for embeddings, put_there in ((text, self._text), (video, self._video))
        )

    def of_texts(self, rows: slice) -> Array:
        """See `Scores`."""
        return _product(self._text[rows], self._video, self._video_copies)

    def of_videos(self, rows: slice) -> Array:
        """See `Scores`."""
        return _product(self._video[rows], self._text, self._text_copies)


def _product(rows: Array, columns: Array, repeated: tuple[Array, ...]) -> Array:
    similarity = rows @ columns.T
    again, first = repeated
    if len(again):
        similarity[:, again] = similarity[:, first]
    return similarity


def copies(embeddings: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows that repeat an earlier row, and the first row that each of them repeats.

    >>> copies(np.array([[5, 0], [6, 0], [5, -0.0]], np.float32))
    (array([2]), array([0]))
    """
    seen: dict[bytes, int] = {}
    # Adding zero turns -0 into 0: they are equal numbers with different bytes. A digest, long enough not to collide by
    # chance, saves keeping a second copy of all rows in memory.
    keys = (blake2b((row + np.float32(0)).tobytes(), digest_size=16).digest() for row in embeddings)
    first = np.array([seen.setdefault(key, index) for index, key in enumerate(keys)], np.int64)
    again = np.flatnonzero(first != np.arange(len(embeddings)))
    return again, first[again]


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
