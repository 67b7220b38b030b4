"""Query by query: which of two feature sets ranks it better, and whose rank changed most."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.metrics import ranks_of
from pipeline.evaluation.protocols import Ties
from pipeline.evaluation.statistics.resampling import Queries
from store.features import Features


@dataclass(frozen=True, slots=True)
class RankChange:
    """A query that two sets rank differently."""

    video_id: str
    """The video that is the query, or that the caption describes."""
    caption_id: str | None
    """None if the query is a video."""
    caption: str | None
    """The text of the caption."""
    before: float
    """Rank in the first set."""
    after: float


@dataclass(frozen=True, slots=True)
class RankChanges:
    """Ranks of the queries of one direction in another set, compared with the first."""

    num_better: int
    """Queries that the other set ranks better; with `Ties.EACH`, by the mean of a query's ranks."""
    num_worse: int
    num_same: int
    risen: tuple[RankChange, ...]
    """Queries whose rank is divided by most in the other set, the largest quotient first."""
    fallen: tuple[RankChange, ...]
    """Queries whose rank is multiplied by most, the largest factor first."""


@dataclass(frozen=True, slots=True)
class QueryNames:
    """Ids and texts of the queries of one direction."""

    features: Features
    videos: NDArray[np.int64] | None
    """Shape (num_queries,): rows of `features.video_ids`, if videos are the queries; None: all captions are."""
    texts: Mapping[str, str]
    """Caption id -> text."""

    def change(self, row: int, before: NDArray[np.float64], after: NDArray[np.float64]) -> RankChange:
        """The rank change of one query, with its ids and text."""
        features, ranks = self.features, (float(before[row]), float(after[row]))
        if self.videos is not None:
            return RankChange(features.video_ids[self.videos[row]], None, None, *ranks)
        caption_id = features.caption_ids[row]
        return RankChange(features.video_ids[features.truth[row]], caption_id, self.texts[caption_id], *ranks)


def rank_changes(
    before: NDArray[np.float64], after: NDArray[np.float64], names: QueryNames, num_moved: int
) -> RankChanges:
    """Compare the ranks of queries.

    Example: from rank 2 to 1 is as much as from 200 to 100. Changes are compared by quotient, not difference, because
    there are many places at the end of a ranking, and one is as bad as the next. Equal quotients are ordered by
    the difference, then by the order of queries.

    Args:
        before: Shape (num_queries,): ranks in the first set.
        after: Shape (num_queries,): ranks in the other set.
        names: Ids and texts of the queries.
        num_moved: Queries to name at most that rose, and that fell.
    """
    quotient, difference = np.log(after / before), after - before
    # `lexsort` takes its last key first. Rounded: log(1/2) and log(100/200) may differ in the last bit.
    rising = np.lexsort((difference, quotient.round(9)))
    falling = np.lexsort((-difference, -quotient.round(9)))
    return RankChanges(
        num_better=int(np.sum(after < before)),
        num_worse=int(np.sum(after > before)),
        num_same=int(np.sum(after == before)),
        risen=tuple(names.change(row, before, after) for row in rising[:num_moved].tolist() if difference[row] < 0),
        fallen=tuple(names.change(row, before, after) for row in falling[:num_moved].tolist() if difference[row] > 0),
    )


def query_ranks(queries: Queries) -> NDArray[np.float64]:
    """One rank for each query: with `Ties.EACH`, the mean of its ranks."""
    return ranks_of(queries.counts, Ties.MEAN if queries.ties is Ties.EACH else queries.ties)
