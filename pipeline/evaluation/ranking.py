"""How many candidates score above, and level with, each query's own item: counted in tiles, without sorting.

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
>>> to_video, to_text = both_ways(scores, truth)
>>> to_video.above, to_video.level
(array([0, 0, 1]), array([1, 2, 1]))
>>> to_text.best.above, to_text.best.level
(array([0, 0, 0]), array([2, 1, 1]))
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.grid import Grid, Span
from pipeline.evaluation.scores.backend import Array, count_above, highest_of_each, like, parts, to_numpy
from pipeline.evaluation.scores.dot import DotScores, Tiles
from pipeline.evaluation.scores.equal import Tile
from pipeline.run.events import ItemsDone, Listener, RunPlanned, ignore_events
from store.features import Features

__all__ = ["DotScores", "RankCounts", "TextRankCounts", "both_ways", "text_to_video"]

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


def text_to_video(scores: Tiles, truth: NDArray[np.int64], tell: Progress = silent) -> RankCounts:
    """Rank each caption's own video among all videos: half of `both_ways`, for those who need no more.

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
    grid = Grid.of(truth, scores.first_videos)
    captions = CaptionQueries(grid)
    go_through(scores, grid, (captions,), tell)
    return captions.counts(scores.num_videos)


def both_ways(
    scores: Tiles, truth: NDArray[np.int64], tell: Progress = silent, *, gains: bool = False
) -> tuple[RankCounts, TextRankCounts]:
    """Rank each caption's own video among all videos, and the captions of each video among all captions.

    Args:
        scores: Of captions and videos.
        truth: Shape (num_texts,): the video that each caption describes.
        tell: See `Progress`.
        gains: Whether to compute nDCG of video to text as well.

    Raises:
        ValueError: As for `text_to_video`.
    """
    check_truth(scores, truth)
    grid = Grid.of(truth, scores.first_videos)
    captions, videos = CaptionQueries(grid), VideoQueries(grid, gains=gains)
    go_through(scores, grid, (captions, videos), tell)
    return captions.counts(scores.num_videos), videos.counts()


class Queries(Protocol):
    """The queries of one direction, whose candidates are counted tile by tile."""

    def num_in(self, span: Span) -> int:
        """Number of queries of a strip."""

    def learn(self, span: Span, tile: Tile) -> None:
        """Take the own scores of the queries of a strip from its tile of the diagonal."""

    def count(self, videos: slice, captions: Span, tile: Tile) -> None:
        """Count the candidates of a part of a tile, whose queries' own scores are known.

        Args:
            videos: Places of the videos of the part.
            captions: The strip whose captions they are scored with.
            tile: Scores of these.
        """


def go_through(scores: Tiles, grid: Grid, queries: Sequence[Queries], tell: Progress) -> None:
    """Compute each tile once, for all queries: first the diagonal, which has the own scores, then the others."""
    described = [span for span in grid.spans if span.num_captions]
    for span in described:
        tile = scores.strip(grid.videos_of(span))(grid.captions_of(span))
        for one in queries:
            one.learn(span, tile)
        _count_tile(span, span, tile, queries)
        del tile  # before the next strip has memory for another
    for span in grid.spans:
        # The tile of the diagonal has been counted above.
        others = [other for other in described if other is not span]
        if others:
            strip = scores.strip(grid.videos_of(span))
            for other in others:
                _count_tile(span, other, strip(grid.captions_of(other)), queries)
            del strip
        # A strip is done only here: its queries have met the captions of all others.
        tell(sum(one.num_in(span) for one in queries))


def _count_tile(rows: Span, columns: Span, tile: Tile, queries: Sequence[Queries]) -> None:
    start = rows.videos.start
    for part in parts(tile.to_video):
        some = Tile(tile.to_video[part], tile.to_text[part])
        for one in queries:
            one.count(slice(start + part.start, start + part.stop), columns, some)


class CaptionQueries:
    """The captions, each of which ranks all videos."""

    def __init__(self, grid: Grid) -> None:
        self._grid, num_texts = grid, len(grid.captions)
        self._own = np.zeros(num_texts, np.float32)  # not `empty`: what lies there may be no number to convert
        self._above, self._at_least = np.zeros((2, num_texts), np.int64)

    def num_in(self, span: Span) -> int:
        """See `Queries`, and so the others."""
        return span.num_captions

    def learn(self, span: Span, tile: Tile) -> None:
        self._own = with_more(self._own, span.captions, own_of_each(tile.to_video, self._grid.owners(span)))

    def count(self, videos: slice, captions: Span, tile: Tile) -> None:
        place = captions.captions
        above, at_least = count_above(tile.to_video, self._own[place], 0)
        self._above[place] += above
        self._at_least[place] += at_least

    def counts(self, num_videos: int) -> RankCounts:
        """What was counted, in the order of the captions."""
        above, level = np.empty((2, len(self._own)), np.int64)
        above[self._grid.captions], level[self._grid.captions] = self._above, self._at_least - self._above
        _require_numbers(level)
        return RankCounts(above, level, num_videos)


class VideoQueries:
    """The videos that have captions, each of which ranks videos and captions."""

    def __init__(self, grid: Grid, *, gains: bool) -> None:
        self._grid, num_videos = grid, len(grid.videos)
        self._num_captions = np.diff(grid.starts)
        self._own = np.full(num_videos, np.nan, np.float32)  # of a video without captions nothing is counted
        self._best, self._single = np.zeros((2, 2, num_videos), np.int64)  # above, at least
        self._gains = _Gains(grid) if gains else None

    def num_in(self, span: Span) -> int:
        """See `Queries`, and so the others."""
        return int((self._num_captions[span.videos] > 0).sum())

    def learn(self, span: Span, tile: Tile) -> None:
        rows = np.flatnonzero(self._num_captions[span.videos])
        best = self._best_of(span, tile.to_text)
        # (videos, videos with captions) of one strip: column i is of the i-th video that has captions, which is row
        # `rows[i]`.
        own = to_numpy(best[like(rows, best), like(np.arange(len(rows)), best)])
        self._own = with_more(self._own, span.videos.start + rows, own)
        if self._gains is not None:
            self._gains.learn(span, tile)

    def count(self, videos: slice, captions: Span, tile: Tile) -> None:
        if not self._num_captions[videos].any():
            return
        # (videos of the part, captions of the strip) -> (.., videos that these describe)
        own, best = self._own[videos], self._best_of(captions, tile.to_text)
        single = np.stack(count_above(tile.to_text, own, 1))
        self._single[:, videos] += single
        # With one caption a video both are the same array, and counted once.
        self._best[:, videos] += single if best is tile.to_text else np.stack(count_above(best, own, 1))
        if self._gains is not None:
            self._gains.count(videos, tile)

    def _best_of(self, span: Span, scores: Array) -> Array:
        """Scores with captions -> with the videos that these describe, by the best of their captions."""
        starts = self._grid.starts[span.videos][self._num_captions[span.videos] > 0]
        return highest_of_each(scores, starts - span.captions.start)

    def counts(self) -> TextRankCounts:
        """What was counted, in the order of the videos."""
        # Back to the order of rows: in the grid, equal videos stand side by side.
        order = np.argsort(self._grid.videos)
        places = order[self._num_captions[order] > 0]
        (best, best_at_least), (single, single_at_least) = self._best[:, places], self._single[:, places]
        _require_numbers(best_at_least - best)
        return TextRankCounts(
            videos=self._grid.videos[places],
            best=RankCounts(best, best_at_least - best, len(places)),
            single=RankCounts(single, single_at_least - single, len(self._grid.captions)),
            gain=None if self._gains is None else self._gains.of(places),
        )


class _Gains:
    """The nDCG of each video: its own captions among all captions, all own ones equally relevant.

    Ties count against the model: the i-th best own caption has rank `i` plus the number of other captions that score at
    least as high.
    """

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self._own = np.zeros(len(grid.captions), np.float32)  # those of a video ascending
        self._at_least = np.zeros(len(grid.captions), np.int64)

    def learn(self, span: Span, tile: Tile) -> None:
        owners = self._grid.owners(span)
        own = own_of_each(tile.to_text, owners)
        self._own = with_more(self._own, span.captions, own[np.lexsort((own, owners))])

    def count(self, videos: slice, tile: Tile) -> None:
        """See `Queries`."""
        for start, stop, row in zip(
            self._grid.starts[videos].tolist(),
            self._grid.starts[videos.start + 1 : videos.stop + 1].tolist(),
            to_numpy(tile.to_text),
            strict=True,
        ):
            if start < stop:
                mine = self._own[start:stop]
                # What scores below the worst own caption counts for none of them, and need not be sorted.
                near = np.sort(row[row >= mine[0]])
                self._at_least[start:stop] += len(near) - np.searchsorted(near, mine, side="left")

    def of(self, places: NDArray[np.int64]) -> NDArray[np.float64]:
        """The nDCG of the videos at some places."""
        starts = self._grid.starts
        return np.array([self._gain(slice(starts[place], starts[place + 1])) for place in places.tolist()])

    def _gain(self, captions: slice) -> float:
        # From the best down; `own_at_least` are own captions, which are no competitors of each other.
        mine, at_least = self._own[captions], self._at_least[captions][::-1]
        own_at_least = (len(mine) - np.searchsorted(mine, mine, side="left"))[::-1]
        ideal = np.arange(1, len(mine) + 1)
        ranks = ideal + (at_least - own_at_least)
        return float((1 / np.log2(1 + ranks)).sum() / (1 / np.log2(1 + ideal)).sum())


def own_of_each(scores: Array, owners: NDArray[np.int64]) -> NDArray[np.float32]:
    """Of each caption of a tile of the diagonal, the score with its own video."""
    own: NDArray[np.float32] = to_numpy(scores[like(owners, scores), like(np.arange(len(owners)), scores)])
    return own


def with_more(
    known: NDArray[np.float32], places: slice | NDArray[np.int64], own: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Own scores and those of more queries, as precise as these are: the first tile tells whether they are float64."""
    known = known.astype(own.dtype, copy=False)
    known[places] = own
    return known


def _require_numbers(level: NDArray[np.int64]) -> None:
    """Refuse NaN: an own score that is NaN does not even equal itself, so that nothing is level with it."""
    if wrong := int((level < 1).sum()):
        raise ValueError(f"the own scores of {wrong} of {len(level)} queries are NaN (the first: {level.argmin()})")


def check_truth(scores: Tiles, truth: NDArray[np.int64]) -> None:
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


def rank(features: Features, scores: Tiles, listener: Listener = ignore_events) -> Ranking:
    """Rank a feature set by scores of its captions and videos."""
    num_captions, num_videos = len(features.truth), len(np.unique(features.truth))
    listener(RunPlanned("queries", num_captions + num_videos, 0))
    several = num_captions > num_videos
    return Ranking(
        features, *both_ways(scores, features.truth, lambda number: listener(ItemsDone(number)), gains=several)
    )
