"""Retrievals to look at: some that were right, some that were not, and what came first instead."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.evaluate import Evaluation
from pipeline.evaluation.metrics import ranks_of
from pipeline.evaluation.protocols import Ties
from pipeline.evaluation.ranking import RankCounts
from pipeline.evaluation.scores.backend import to_numpy
from pipeline.evaluation.slices.inputs import caption_texts
from store.store import Store

NUM_RIGHT, NUM_WRONG, NUM_FURTHEST = 3, 3, 2
"""In each direction, at most."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """What a query may find."""

    video_id: str
    score: float
    text: str | None = None
    """The caption, from video to text."""


@dataclass(frozen=True, slots=True)
class Example:
    """One query, its own item, and the best of all others."""

    direction: str
    """One of `DIRECTIONS`."""
    kind: str
    """`right`, `wrong` or `furthest`."""
    query_id: str
    """Of a caption; from video to text, of a video."""
    text: str | None
    """The caption; None from video to text."""
    rank: int
    """Of the own item; a tie counts against it."""
    num_candidates: int
    own: Candidate
    other: Candidate | None
    """None where there is no other."""


def find_examples(store: Store, result: Evaluation) -> tuple[Example, ...]:
    """Some queries of both directions: drawn at random, the same ones each time, and those that are furthest off."""
    texts = caption_texts(store, result.ranking.features, result.split)
    finder = _Finder(result, texts)
    to_video, to_text = result.ranking.to_video, result.ranking.to_text
    return (
        *(finder.of_caption(kind, row, rank) for kind, row, rank in _chosen(to_video, result.ranking.features.truth)),
        *(finder.of_video(kind, row, rank) for kind, row, rank in _chosen(to_text.best, to_text.videos)),
    )


def _chosen(counts: RankCounts, videos: NDArray[np.int64]) -> list[tuple[str, int, int]]:
    """Kind, row and rank of the queries to show, each of another video.

    Args:
        counts: Of the queries.
        videos: Shape (num_queries,): the video of each.
    """
    ranks = ranks_of(counts, Ties.PESSIMISTIC).astype(np.int64)
    drawn = np.random.default_rng(0).permutation(len(ranks))
    furthest = np.argsort(-ranks, kind="stable")
    # The furthest are taken first, as there are few of them; `found` has the order of the page.
    kinds = {
        "furthest": (furthest[ranks[furthest] > 1], NUM_FURTHEST),
        "right": (drawn[ranks[drawn] == 1], NUM_RIGHT),
        "wrong": (drawn[ranks[drawn] > 1], NUM_WRONG),
    }
    used: set[int] = set()
    found: dict[str, list[int]] = {kind: [] for kind in ("right", "wrong", "furthest")}
    for kind, (rows, number) in kinds.items():
        for row in rows.tolist():
            if len(found[kind]) == number:
                break
            if int(videos[row]) not in used:
                used.add(int(videos[row]))
                found[kind].append(row)
    return [(kind, row, int(ranks[row])) for kind, rows in found.items() for row in rows]


@dataclass(frozen=True, slots=True)
class _Finder:
    result: Evaluation
    texts: tuple[str, ...]

    def of_caption(self, kind: str, row: int, rank: int) -> Example:
        features, scores = self.result.ranking.features, self.result.scores
        # (1, num_videos) -> (num_videos,). One row again for each example: scores of all captions were not kept.
        found = to_numpy(scores.of_texts(slice(row, row + 1)))[0]
        own = int(features.truth[row])
        other = _best_but(found, np.array([own]))
        return Example(
            direction="text_to_video",
            kind=kind,
            query_id=features.caption_ids[row],
            text=self.texts[row],
            rank=rank,
            num_candidates=len(features.video_ids),
            own=Candidate(features.video_ids[own], float(found[own])),
            other=None if other is None else Candidate(features.video_ids[other], float(found[other])),
        )

    def of_video(self, kind: str, row: int, rank: int) -> Example:
        features, to_text = self.result.ranking.features, self.result.ranking.to_text
        video = int(to_text.videos[row])
        found = to_numpy(self.result.scores.of_videos(slice(video, video + 1)))[0]
        mine = np.flatnonzero(features.truth == video)  # the captions of this video
        own = int(mine[found[mine].argmax()])
        other = _best_but(found, mine)
        return Example(
            direction="video_to_text",
            kind=kind,
            query_id=features.video_ids[video],
            text=None,
            rank=rank,
            num_candidates=to_text.best.num_candidates,
            own=self._caption(own, found),
            other=None if other is None else self._caption(other, found),
        )

    def _caption(self, row: int, scores: NDArray[np.float32]) -> Candidate:
        features = self.result.ranking.features
        return Candidate(features.video_ids[features.truth[row]], float(scores[row]), self.texts[row])


def _best_but(scores: NDArray[np.float32], own: NDArray[np.int64]) -> int | None:
    """The best candidate that is none of the own ones.

    >>> _best_but(np.array([3, 9, 5], np.float32), np.array([1])), _best_but(np.array([3], np.float32), np.array([0]))
    (2, None)
    """
    if len(own) == len(scores):
        return None
    others = scores.copy()
    others[own] = -np.inf
    return int(others.argmax())
