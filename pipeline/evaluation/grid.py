"""The matrix of scores, cut into tiles, so that every query finds its own scores in one tile of the diagonal.

Videos stand in the order of the data set, equal ones side by side, and captions in the order of their videos. Both are
cut at the same videos:

               captions of strip 0   of strip 1   of strip 2
    strip 0  [ own scores          |            |            ]
    strip 1  [                     | own scores |            ]
    strip 2  [                     |            | own scores ]

The own score of each query is known once the diagonal is computed, and that is one tile a strip. All other tiles can
then be counted for their rows and their columns alike, in any order, and forgotten.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import isqrt

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.scores.backend import Rows, rows_of

_TILE_SIDE = 2040
"""Rows of a tile at most, and columns if there are as many captions as videos: 16 MiB of float32. Smaller tiles make a
product slower (512: 10%). A multiple of 255 bytes of 8 counts: see `count_above`."""
_LEAST_ROWS = 160
"""Rows of a tile at least, where a video has very many captions: with fewer, BLAS packs the columns for longer than it
multiplies them."""


@dataclass(frozen=True, slots=True)
class Span:
    """A strip of videos, and the captions that describe them, by their places in `Grid`."""

    videos: slice
    captions: slice

    @property
    def num_captions(self) -> int:
        """Number of captions; 0 if no video of the strip has any."""
        return int(self.captions.stop - self.captions.start)


@dataclass(frozen=True, slots=True)
class Grid:
    """The order of videos and captions, and where they are cut."""

    videos: NDArray[np.int64]
    """Shape (num_videos,): the video at each place."""
    captions: NDArray[np.int64]
    """Shape (num_texts,): the caption at each place; those of a video side by side, ascending."""
    starts: NDArray[np.int64]
    """Shape (num_videos + 1,): at which place the captions of the video at each place begin, and the last ones end."""
    spans: tuple[Span, ...]

    @classmethod
    def of(cls, truth: NDArray[np.int64], first_videos: NDArray[np.int64]) -> Grid:
        """Lay out the captions and videos of a data set.

        Args:
            truth: Shape (num_texts,): the video that each caption describes.
            first_videos: Shape (num_videos,): the first video that equals each.

        >>> grid = Grid.of(np.array([2, 0, 2]), np.array([0, 1, 0]))  # videos 0 and 2 are equal
        >>> grid.videos, grid.captions, grid.starts
        (array([0, 2, 1]), array([1, 0, 2]), array([0, 1, 3, 3]))
        """
        num_videos = len(first_videos)
        videos = np.argsort(first_videos, kind="stable")
        places = np.empty(num_videos, np.int64)
        places[videos] = np.arange(num_videos)
        counts = np.bincount(truth, minlength=num_videos)[videos]
        starts = np.append(0, np.cumsum(counts))
        cuts = _cuts(starts, first_videos[videos])
        spans = tuple(
            Span(slice(start, stop), slice(int(starts[start]), int(starts[stop]))) for start, stop in pairwise(cuts)
        )
        return cls(videos, np.argsort(places[truth], kind="stable"), starts, spans)

    def videos_of(self, span: Span) -> Rows:
        """The videos of a strip."""
        return rows_of(self.videos[span.videos])

    def captions_of(self, span: Span) -> Rows:
        """The captions of a strip's videos."""
        return rows_of(self.captions[span.captions])

    def owners(self, span: Span) -> NDArray[np.int64]:
        """Of each caption of a strip, the row of its video in the strip."""
        counts = np.diff(self.starts[span.videos.start : span.videos.stop + 1])
        return np.repeat(np.arange(len(counts)), counts)


def _cuts(starts: NDArray[np.int64], first: NDArray[np.int64]) -> list[int]:
    """Places at which strips begin, and the end of the last one.

    A strip has as many rows, and captions, as a tile may have. Equal videos are in one strip, or, if they are too many,
    in strips of nothing else: then each computes the scores of that one video in the same way.

    >>> _cuts(np.arange(6), np.array([0, 1, 1, 3, 4]))
    [0, 5]
    """
    num_videos, num_captions = len(first), int(starts[-1])
    num_scores = _TILE_SIDE**2
    # A strip of r videos has about r * num_captions / num_videos captions, and a tile the product of both.
    most_rows = min(_TILE_SIDE, max(1, isqrt(num_scores * num_videos // num_captions)))
    # One video of very many captions makes a strip as wide as they are, and so lower.
    most_rows = min(most_rows, max(_LEAST_ROWS, num_scores // int(np.diff(starts).max())))
    most_rows = -(-num_videos // -(-num_videos // most_rows))  # as even as can be
    most_captions = max(num_scores // most_rows, 1)
    cuts = [0]
    while (start := cuts[-1]) < num_videos:
        # As many videos as have `most_captions` together, but one in any case.
        stop = int(np.searchsorted(starts, starts[start] + most_captions, side="right")) - 1
        stop = min(max(stop, start + 1), start + most_rows, num_videos)
        begin, end = (int(np.searchsorted(first, first[start], side=side)) for side in ("left", "right"))
        if begin < start:  # the rest of too many equal videos
            stop = min(stop, end)
        # Equal videos at the end of the strip: it ends before them, so that they begin the next one together.
        elif stop < num_videos and stop > end:
            stop = int(np.searchsorted(first, first[stop], side="left"))
        cuts.append(stop)
    return cuts
