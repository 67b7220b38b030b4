"""Query by query: which of two feature sets ranks it better, and which queries moved most."""

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
    """The video that the caption describes, or that is the query."""
    caption_id: str | None
    """None where the query is a video."""
    caption: str | None
    """What the caption says."""
    before: float
    """Rank in the first set."""
    after: float


@dataclass(frozen=True, slots=True)
class RankChanges:
    """The queries of one direction, another set against the first."""

    num_better: int
    """Queries that the other set ranks better than the first; of `Ties.EACH`, by the mean of a query's ranks."""
    num_worse: int
    num_same: int
    risen: tuple[RankChange, ...]
    """Those whose rank the other set divides by most, that one first."""
    fallen: tuple[RankChange, ...]
    """Those whose rank it multiplies by most."""


@dataclass(frozen=True, slots=True)
class QueryNames:
    """What the queries of one direction are called."""

    features: Features
    videos: NDArray[np.int64] | None
    """Shape (num_queries,): rows of `features.video_ids`, where videos are the queries; None: all captions are."""
    texts: Mapping[str, str]
    """Caption id -> what it says."""

    def change(self, row: int, before: NDArray[np.float64], after: NDArray[np.float64]) -> RankChange:
        """Name one."""
        features, ranks = self.features, (float(before[row]), float(after[row]))
        if self.videos is not None:
            return RankChange(features.video_ids[self.videos[row]], None, None, *ranks)
        caption_id = features.caption_ids[row]
        return RankChange(features.video_ids[features.truth[row]], caption_id, self.texts[caption_id], *ranks)


def rank_changes(
    before: NDArray[np.float64], after: NDArray[np.float64], names: QueryNames, num_moved: int
) -> RankChanges:
    """Compare the ranks of queries.

    From 2 to 1 is as far as from 200 to 100: a rank is divided, not lowered, for the places at the end of a ranking are
    many, and one is as bad as the next. Of equal quotients the longer way is further; then the first query.

    Args:
        before: Shape (num_queries,): ranks in the first set.
        after: Likewise, in the other set.
        names: What the queries are.
        num_moved: How many to name at most, up and down.
    """
    quotient, way = np.log(after / before), after - before
    rising = np.lexsort((way, quotient.round(9)))
    falling = np.lexsort((-way, -quotient.round(9)))
    return RankChanges(
        num_better=int(np.sum(after < before)),
        num_worse=int(np.sum(after > before)),
        num_same=int(np.sum(after == before)),
        risen=tuple(names.change(row, before, after) for row in rising[:num_moved].tolist() if way[row] < 0),
        fallen=tuple(names.change(row, before, after) for row in falling[:num_moved].tolist() if way[row] > 0),
    )


def query_ranks(queries: Queries) -> NDArray[np.float64]:
    """One rank a query: where all ranks of a tie count, their mean."""
    return ranks_of(queries.counts, Ties.MEAN if queries.ties is Ties.EACH else queries.ties)
