"""The best candidates of each query, their scores, and the score of the own item: found in blocks.

The blocks are those of `pipeline.evaluation.ranking`: a matrix product may differ in its last bits in blocks of another
size, and then the best candidate here could contradict the rank there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.ranking import CaptionOrder, Progress, blocks, check_truth, silent
from pipeline.evaluation.scores.backend import to_numpy
from pipeline.evaluation.scores.dot import Scores


@dataclass(frozen=True, slots=True)
class TopCandidates:
    """The best candidates of each query, best first; of equal scores, the lower row first."""

    items: NDArray[np.int64]
    """Shape (num_queries, k): rows of candidates."""
    scores: NDArray[np.float32]
    """Shape (num_queries, k)."""
    own: NDArray[np.float32]
    """Shape (num_queries,): the score of the own item; for a video, of the best of its own captions."""


def top_videos(scores: Scores, truth: NDArray[np.int64], k: int, tell: Progress = silent) -> TopCandidates:
    """The best videos of each caption.

    Args:
        scores: Of captions and videos.
        truth: Shape (num_texts,): the video that each caption describes.
        k: How many; all, if there are fewer.
        tell: See `Progress`.

    Raises:
        ValueError: `truth` is wrong (see `text_to_video`), `k` is below 1, or a score is NaN.
    """
    check_truth(scores, truth)
    found = []
    for rows in blocks(len(truth), scores.num_videos):
        similarity = to_numpy(scores.of_texts(rows))
        own = similarity[np.arange(len(similarity)), truth[rows]]
        found.append((*best_of(similarity, k), own))
        tell(len(similarity))
    return TopCandidates(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


def top_texts(scores: Scores, truth: NDArray[np.int64], k: int, tell: Progress = silent) -> TopCandidates:
    """The best captions of each video that has one, in the order of `TextRankCounts.videos`.

    Args:
        scores: Of captions and videos.
        truth: Shape (num_texts,): the video that each caption describes.
        k: How many; all, if there are fewer.
        tell: See `Progress`.

    Raises:
        ValueError: `truth` is wrong (see `text_to_video`), `k` is below 1, or a score is NaN.
    """
    check_truth(scores, truth)
    order = CaptionOrder.of(truth)
    found = []
    for rows in blocks(scores.num_videos, scores.num_texts):
        mine = np.flatnonzero((order.videos >= rows.start) & (order.videos < rows.stop))
        if not len(mine):
            continue
        similarity = to_numpy(scores.of_videos(rows))[order.videos[mine] - rows.start]
        own = [row[order.captions_of(number)].max() for number, row in zip(mine.tolist(), similarity, strict=True)]
        found.append((*best_of(similarity, k), np.array(own, np.float32)))
        tell(len(mine))
    return TopCandidates(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


def best_of(similarity: NDArray[np.float32], k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The best columns of each row, best first, and their scores: both of shape (num_rows, min(k, num_columns)).

    Args:
        similarity: Shape (num_rows, num_columns).
        k: How many.

    Raises:
        ValueError: `k` is below 1, or a score is NaN.

    >>> best_of(np.array([[1, 9, 9, 5], [2, 2, 2, 2]], np.float32), 3)[0]
    array([[1, 2, 3],
           [0, 1, 2]])
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
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
    chosen = order[np.searchsorted(rows, np.arange(len(similarity)))[:, None] + np.arange(k)]
    return columns[chosen], values[chosen]
