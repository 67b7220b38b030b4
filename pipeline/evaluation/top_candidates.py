"""The best candidates of each query, their scores, and the score of the own item.

They come of the tiles of which `pipeline.evaluation.ranking` counts ranks: a matrix product may differ in its last bits
in tiles of another size, and then the best candidate here could contradict the rank there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.grid import Grid, Span
from pipeline.evaluation.ranking import Progress, check_truth, go_through, own_of_each, silent, with_more
from pipeline.evaluation.scores.backend import to_numpy
from pipeline.evaluation.scores.dot import Tiles
from pipeline.evaluation.scores.equal import Tile


@dataclass(frozen=True, slots=True)
class TopCandidates:
    """The best candidates of each query, best first; of equal scores, the lower row first."""

    items: NDArray[np.int64]
    """Shape (num_queries, k): rows of candidates."""
    scores: NDArray[np.float32]
    """Shape (num_queries, k)."""
    own: NDArray[np.float32]
    """Shape (num_queries,): the score of the own item; for a video, of the best of its own captions."""


def top_videos(scores: Tiles, truth: NDArray[np.int64], k: int, tell: Progress = silent) -> TopCandidates:
    """The best videos of each caption.

    Args:
        scores: Of captions and videos.
        truth: Shape (num_texts,): the video that each caption describes.
        k: How many; all, if there are fewer.
        tell: See `Progress`.

    Raises:
        ValueError: `truth` is wrong (see `text_to_video`), `k` is below 1, or a score is NaN.
    """
    return _top(TopVideos, scores, truth, k, tell)


def top_texts(scores: Tiles, truth: NDArray[np.int64], k: int, tell: Progress = silent) -> TopCandidates:
    """The best captions of each video that has one, in the order of `TextRankCounts.videos`.

    Args:
        scores: Of captions and videos.
        truth: Shape (num_texts,): the video that each caption describes.
        k: How many; all, if there are fewer.
        tell: See `Progress`.

    Raises:
        ValueError: `truth` is wrong (see `text_to_video`), `k` is below 1, or a score is NaN.
    """
    return _top(TopTexts, scores, truth, k, tell)


def _top(
    kind: type[TopVideos] | type[TopTexts], scores: Tiles, truth: NDArray[np.int64], k: int, tell: Progress
) -> TopCandidates:
    check_truth(scores, truth)
    grid = Grid.of(truth, scores.first_videos)
    top = kind(grid, k)
    go_through(scores, grid, (top,), tell)
    return top.found()


class _Best:
    """The best candidates so far of the query at each place."""

    def __init__(self, num_queries: int, num_candidates: int, k: int) -> None:
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        self.k = min(k, num_candidates)
        self.items = np.full((num_queries, self.k), num_candidates)  # after any real one
        self.scores = np.full((num_queries, self.k), -np.inf, np.float32)

    def add(self, places: slice, similarity: NDArray[np.float32], items: NDArray[np.int64]) -> None:
        """Take more candidates: shape (number of places, number of items)."""
        self.scores = self.scores.astype(similarity.dtype, copy=False)
        rows = np.flatnonzero(~(similarity.max(axis=1) < self.scores[places, -1]))  # NaN is refused below
        if not len(rows):
            return
        order = np.argsort(items)  # of equal scores, `best_of` takes the first
        columns, values = best_of(similarity[rows][:, order], self.k)
        rows += places.start
        values = np.concatenate([self.scores[rows], values], axis=1)
        candidates = np.concatenate([self.items[rows], items[order][columns]], axis=1)
        # By score, then by row: the result does not depend on the order in which tiles come.
        chosen = np.lexsort((candidates, -values))[:, : self.k]
        self.scores[rows] = np.take_along_axis(values, chosen, axis=1)
        self.items[rows] = np.take_along_axis(candidates, chosen, axis=1)


class TopVideos:
    """Captions as queries, of which the best videos are wanted: see `pipeline.evaluation.ranking.Queries`."""

    def __init__(self, grid: Grid, k: int) -> None:
        """`k` is as for `top_videos`, with its error."""
        self._grid, self._best = grid, _Best(len(grid.captions), len(grid.videos), k)
        self._own = np.zeros(len(grid.captions), np.float32)

    def num_in(self, span: Span) -> int:
        """See `Queries`, and so the others."""
        return span.num_captions

    def learn(self, span: Span, tile: Tile) -> None:
        """See `Queries`."""
        self._own = with_more(self._own, span.captions, own_of_each(tile.to_video, self._grid.owners(span)))

    def count(self, videos: slice, captions: Span, tile: Tile) -> None:
        """See `Queries`."""
        self._best.add(captions.captions, to_numpy(tile.to_video).T, self._grid.videos[videos])

    def found(self) -> TopCandidates:
        """The best videos, in the order of the captions."""
        places = np.argsort(self._grid.captions)
        return TopCandidates(self._best.items[places], self._best.scores[places], self._own[places])


class TopTexts:
    """Videos as queries, of which the best captions are wanted."""

    def __init__(self, grid: Grid, k: int) -> None:
        """`k` is as for `top_texts`, with its error."""
        self._grid, self._best = grid, _Best(len(grid.videos), len(grid.captions), k)
        self._own = np.full(len(grid.videos), -np.inf, np.float32)

    def num_in(self, span: Span) -> int:
        """See `Queries`, and so the others."""
        return int((np.diff(self._grid.starts[span.videos.start : span.videos.stop + 1]) > 0).sum())

    def learn(self, span: Span, tile: Tile) -> None:
        """See `Queries`."""
        owners = self._grid.owners(span)
        own = own_of_each(tile.to_text, owners)
        self._own = self._own.astype(own.dtype, copy=False)
        np.maximum.at(self._own, span.videos.start + owners, own)

    def count(self, videos: slice, captions: Span, tile: Tile) -> None:
        """See `Queries`."""
        self._best.add(videos, to_numpy(tile.to_text), self._grid.captions[captions.captions])

    def found(self) -> TopCandidates:
        """The best captions, in the order of the videos; those without captions are left out."""
        places = np.argsort(self._grid.videos)
        places = places[np.diff(self._grid.starts)[places] > 0]
        return TopCandidates(self._best.items[places], self._best.scores[places], self._own[places])


def best_of(similarity: NDArray[np.float32], k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The best columns of each row, best first, and their scores: both of shape (num_rows, min(k, num_columns)).

    Args:
        similarity: Shape (num_rows, num_columns).
        k: How many, at least 1.

    Raises:
        ValueError: A score is NaN.

    >>> best_of(np.array([[1, 9, 9, 5], [2, 2, 2, 2]], np.float32), 3)[0]
    array([[1, 2, 3],
           [0, 1, 2]])
    """
    highest = similarity.max(axis=1)
    if np.isnan(highest).any():
        raise ValueError(f"{int(np.isnan(highest).sum())} of {len(similarity)} queries have NaN scores")
    k = min(k, similarity.shape[1])
    if k == 1:  # `argmax` takes the first of equal scores, as below
        return similarity.argmax(axis=1)[:, None], highest[:, None]
    # A partition finds the k-th best score of each row without sorting it; only what reaches that score is sorted.
    last = np.partition(similarity, -k, axis=1)[:, -k]
    rows, columns = np.nonzero(similarity >= last[:, None])  # k of each row, or more if scores tie with the k-th
    values = similarity[rows, columns]
    order = np.lexsort((columns, -values, rows))
    # `order` is sorted by row first: the first k places of each row.
    chosen = order[np.searchsorted(rows, np.arange(len(similarity)))[:, None] + np.arange(k)]
    return columns[chosen], values[chosen]
