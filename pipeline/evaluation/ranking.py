"""How many candidates score above, and level with, each query's own item: counted in blocks, without sorting.

With the score `s(c, v)` of caption `c` and video `v`, and `truth[c]` the video that the caption describes:

- text to video: every caption is a query, every video a candidate; its own video is `truth[c]`.
- video to text, `best`: every video that has a caption is a query, and they alone are candidates. A video's captions
  count through the best of them, `S(i, j) = max{s(c, i) : truth[c] = j}`, and the own score is `S(i, i)` (CLIP4Clip).
- video to text, `single`: the candidates are all captions, and the own score is that of the best of the own captions
  (collaborative-experts).

Two numbers a query are enough for every rule for ties: the candidates above the own item, and those level with it,
itself included. `pipeline.evaluation.metrics` makes ranks of them. An example, three captions (rows) of three videos
(columns): caption 1 scores video 0 as high as its own, caption 2 scores video 0 higher, and video 0 scores captions 0
and 2 the same:

    s =  9 1 2      text to video (rows):     0, 0, 1 above the own score on the diagonal; 1, 2, 1 level with it
         8 8 0      video to text (columns):  0, 0, 0 above;                               2, 1, 1 level
         9 4 7

>>> text = np.array([[9, 1, 2], [8, 8, 0], [9, 4, 7]], np.float32)
>>> scores, truth = DotScores(text, np.eye(3, dtype=np.float32)), np.arange(3)
>>> to_video = text_to_video(scores, truth)
>>> to_video.above, to_video.level
(array([0, 0, 1]), array([1, 2, 1]))
>>> best = video_to_text(scores, truth).best
>>> best.above, best.level
(array([0, 0, 0]), array([2, 1, 1]))
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.scores.backend import (
    Array,
    count_above,
    highest_of_each,
    like,
    own_scores,
    take_columns,
    to_numpy,
)
from pipeline.evaluation.scores.dot import DotScores, Scores
from pipeline.run.events import ItemsDone, Listener, RunPlanned, ignore_events
from store.features import Features

__all__ = ["DotScores", "RankCounts", "TextRankCounts", "text_to_video", "video_to_text"]

_BLOCK_ROWS = 4096
"""Rows of a block at most. With many small products, BLAS's threads wait for one another, and longer if the machine is
busy with other work."""
_LEAST_ROWS = 160
"""Rows of a block at least: with fewer, BLAS packs the columns for longer than it multiplies them."""
_BLOCK_SCORES = 2**22
"""Scores of a block: 16 MiB of float32, or `_LEAST_ROWS` rows if that is more."""

Progress = Callable[[int], None]
"""Called with the number of queries ranked since the last call."""


def silent(num_queries: int) -> None:
    """Report no progress."""


@dataclass(frozen=True, slots=True)
class RankCounts:
    """For each query, how many candidates score above its own item, and how many level with it."""

    above: NDArray[np.int64]
    """Shape (num_queries,): candidates that score higher than the own item."""
    level: NDArray[np.int64]
    """Shape (num_queries,): candidates that score the same, the own item itself included."""
    num_candidates: int

    def __post_init__(self) -> None:
        if self.above.shape != self.level.shape or self.above.ndim != 1 or not len(self.above):
            raise ValueError(
                f"above and level must have one entry a query, got shapes {self.above.shape} and {self.level.shape}"
            )
        if self.above.min() < 0 or self.level.min() < 1 or (self.above + self.level).max() > self.num_candidates:
            raise ValueError(f"the rank of an own item is outside of 1..{self.num_candidates} (num_candidates)")

    def __len__(self) -> int:
        return len(self.above)

    def of(self, queries: NDArray[np.int64] | NDArray[np.bool_]) -> RankCounts:
        """The counts of some queries."""
        return RankCounts(self.above[queries], self.level[queries], self.num_candidates)


@dataclass(frozen=True, slots=True)
class TextRankCounts:
    """Rank counts of video to text, in two ways. Both have one query for each video that has captions."""

    videos: NDArray[np.int64]
    """Shape (num_queries,): the rows of these videos, in ascending order."""
    best: RankCounts
    """Candidates are videos, each scored by the best of its captions."""
    single: RankCounts
    """Candidates are all captions; the own item is the best of the own captions."""
    gain: NDArray[np.float64] | None
    """Shape (num_queries,): nDCG of all own captions, 0..1; None if it was not computed."""


def text_to_video(scores: Scores, truth: NDArray[np.int64], tell: Progress = silent) -> RankCounts:
    """Rank each caption's own video among all videos.

    Args:
        scores: Of captions and videos.
        truth: Shape (num_texts,): the video that each caption describes.
        tell: See `Progress`.

    Raises:
        ValueError: `truth` has another shape or dtype, or a value outside `[0, num_videos)`; or a score is NaN.

    >>> text_to_video(DotScores(np.ones((2, 1), np.float32), np.ones((5, 1), np.float32)), np.array([0, 3])).level
    array([5, 5])
    """
    check_truth(scores, truth)
    above, level = np.empty(len(truth), np.int64), np.empty(len(truth), np.int64)
    for rows in blocks(len(truth), scores.num_videos):
        similarity = scores.of_texts(rows)
        above[rows], level[rows] = count_above(similarity, own_scores(similarity, truth[rows]))
        del similarity  # before the next block is computed, or memory holds two of them
        tell(rows.stop - rows.start)
    _require_numbers(level)
    return RankCounts(above, level, scores.num_videos)


def video_to_text(
    scores: Scores, truth: NDArray[np.int64], tell: Progress = silent, *, gains: bool = False
) -> TextRankCounts:
    """Rank the captions of each video among all captions.

    Args:
        scores: Of captions and videos.
        truth: Shape (num_texts,): the video that each caption describes.
        tell: See `Progress`.
        gains: Whether to compute nDCG as well.

    Raises:
        ValueError: As for `text_to_video`.
    """
    check_truth(scores, truth)
    order = CaptionOrder.of(truth)
    counts = {name: np.empty(len(order.videos), np.int64) for name in ("best", "best_level", "single", "single_level")}
    gain = np.empty(len(order.videos)) if gains else None
    for rows in blocks(scores.num_videos, max(scores.num_texts, 1)):
        mine = np.flatnonzero((order.videos >= rows.start) & (order.videos < rows.stop))
        if not len(mine):
            continue
        # The product is computed again for this direction. To keep the matrix of `text_to_video` would take 400 MB for
        # 10,000 x 10,000 and 10 GB for 50,000 x 50,000; and dual softmax has another matrix for each direction.
        similarity = scores.of_videos(rows)
        if len(mine) < len(similarity):
            similarity = similarity[like(order.videos[mine] - rows.start, similarity)]
        best = order.best(similarity)
        own = own_scores(best, mine)
        counts["best"][mine], counts["best_level"][mine] = count_above(best, own)
        counts["single"][mine], counts["single_level"][mine] = count_above(similarity, own)
        if gain is not None:
            gain[mine] = [
                _gain(row, order.captions_of(number))
                for number, row in zip(mine.tolist(), to_numpy(similarity), strict=True)
            ]
        del similarity, best  # see `text_to_video`
        tell(len(mine))
    _require_numbers(counts["best_level"])
    return TextRankCounts(
        videos=order.videos,
        best=RankCounts(counts["best"], counts["best_level"], len(order.videos)),
        single=RankCounts(counts["single"], counts["single_level"], scores.num_texts),
        gain=gain,
    )


@dataclass(frozen=True, slots=True)
class CaptionOrder:
    """The captions in the order of their videos, so that those of one video are side by side."""

    videos: NDArray[np.int64]
    """The videos that have captions, ascending."""
    captions: NDArray[np.int64]
    """Shape (num_texts,): captions of the first of `videos`, ascending, then those of the next."""
    starts: NDArray[np.int64]
    """Shape (len(videos) + 1,): where the captions of each video begin in `captions`, and where the last ones end."""
    in_order: bool
    """Whether `captions` is 0, 1, 2, ...: columns then need no reordering."""

    @classmethod
    def of(cls, truth: NDArray[np.int64]) -> CaptionOrder:
        """Order captions by the video that each describes.

        >>> order = CaptionOrder.of(np.array([2, 0, 2]))
        >>> order.videos, order.captions, order.starts
        (array([0, 2]), array([1, 0, 2]), array([0, 1, 3]))
        """
        videos, counts = np.unique(truth, return_counts=True)
        in_order = bool((np.diff(truth) >= 0).all())
        return cls(videos, np.argsort(truth, kind="stable"), np.append(0, np.cumsum(counts)), in_order)

    def captions_of(self, number: int) -> NDArray[np.int64]:
        """The captions of `videos[number]`, ascending."""
        return self.captions[self.starts[number] : self.starts[number + 1]]

    def best(self, similarity: Array) -> Array:
        """From scores of some videos with all captions to scores with each of `videos`, by the best of its captions.

        Args:
            similarity: Shape (num_queries, num_texts).

        Returns:
            Shape (num_queries, len(videos)); `similarity` itself if each video has one caption, in order.
        """
        beside = similarity if self.in_order else take_columns(similarity, self.captions)
        return highest_of_each(beside, self.starts[:-1])


def _gain(row: NDArray[np.float32], own: NDArray[np.int64]) -> float:
    """The nDCG of the own captions among all captions, all own ones equally relevant; ties count against the model.

    The i-th best of `k` own captions has rank `i` plus the number of other captions that score at least as high.

    >>> round(_gain(np.array([3, 9, 5, 4], np.float32), np.array([0, 1])), 4)  # at 1 and 4
    0.8772
    """
    mine = np.sort(row[own])[::-1]
    near = row[row >= mine[-1]]
    # Of all that score at least as high as the i-th best own caption, `i` at least are own ones.
    at_least = len(near) - np.searchsorted(np.sort(near), mine, side="left")
    own_at_least = len(mine) - np.searchsorted(mine[::-1], mine, side="left")
    ranks = np.arange(1, len(mine) + 1) + (at_least - own_at_least)
    ideal = np.arange(1, len(mine) + 1)
    return float((1 / np.log2(1 + ranks)).sum() / (1 / np.log2(1 + ideal)).sum())


def blocks(num_rows: int, num_columns: int) -> Iterator[slice]:
    """Slices of rows, one after the other, each of as many as may be in memory with all their columns."""
    size = min(_BLOCK_ROWS, max(_LEAST_ROWS, _BLOCK_SCORES // num_columns))
    for start in range(0, num_rows, size):
        yield slice(start, min(start + size, num_rows))


def _require_numbers(level: NDArray[np.int64]) -> None:
    """Refuse NaN: an own score that is NaN does not even equal itself, so that nothing is level with it."""
    if wrong := int((level < 1).sum()):
        raise ValueError(f"the own scores of {wrong} of {len(level)} queries are NaN (the first: {level.argmin()})")


def check_truth(scores: Scores, truth: NDArray[np.int64]) -> None:
    """Check that each caption has its video.

    Raises:
        ValueError: See `text_to_video`.
    """
    if truth.dtype != np.int64 or truth.shape != (scores.num_texts,) or not len(truth):
        raise ValueError(
            f"truth must be int64 of shape ({scores.num_texts},), the row of a video for each caption, and not empty; "
            f"got {truth.dtype}, {truth.shape}"
        )
    outside = np.flatnonzero((truth < 0) | (truth >= scores.num_videos))
    if len(outside):
        raise ValueError(
            f"truth must name rows of video, 0..{scores.num_videos - 1}, but {len(outside)} of {len(truth)} captions "
            f"do not: caption {outside[0]} says {truth[outside[0]]}"
        )


@dataclass(frozen=True, slots=True)
class Ranking:
    """A feature set of one split, ranked: metrics, intervals, comparisons and slices are computed from this."""

    features: Features
    """The feature set. Query `i` of `to_video` is its caption `i`, which describes video `truth[i]`."""
    to_video: RankCounts
    to_text: TextRankCounts


def rank(features: Features, scores: Scores, listener: Listener = ignore_events) -> Ranking:
    """Rank a feature set by scores of its captions and videos."""
    num_captions, num_videos = len(features.truth), len(np.unique(features.truth))
    listener(RunPlanned("queries", num_captions + num_videos, 0))

    def tell(num_queries: int) -> None:
        listener(ItemsDone(num_queries))

    return Ranking(
        features,
        text_to_video(scores, features.truth, tell),
        video_to_text(scores, features.truth, tell, gains=num_captions > num_videos),
    )
