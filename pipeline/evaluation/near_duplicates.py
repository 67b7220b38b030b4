"""Videos that are scored and nearly the same as a video of another split: another cut, size or encoding of one source.

A model that was trained on one of the two has seen the other. Equal files are found by their contents
(`store.contents`); these are found by their features, so that it takes a model that tells videos apart.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.evaluation.evaluate import pooled_features
from pipeline.run.events import Phase, Reporter
from store.errors import NotInStoreError, ShardIncompleteError
from store.features import Features, read_features
from store.store import Store

SHARE_OF_USUAL = 0.2
"""Near-duplicates are at most so far apart, as a share of how far a scored video usually is from the nearest other one
of its own split. On 60 real clips and a ViT-B/32 of random weights, copies of a quarter of the size and at low quality
were at 0.03 to 0.18, and the nearest other video at 0.25."""
_BLOCK_SCORES = 2**24
"""Scores at once: 64 MiB."""


@dataclass(frozen=True, slots=True)
class NearDuplicate:
    """A scored video, and the one most like it in another split."""

    video_id: str
    other_split: str
    other_id: str
    cosine: float


def near_duplicates(
    store: Store, features: Features, name: str, split: str, report: Reporter, pooling: str | None = None
) -> tuple[NearDuplicate, ...]:
    """Find the near-duplicates of scored videos in all other splits that have features of this name.

    Args:
        store: The store.
        features: What is scored.
        name: Of the feature set.
        split: Of the features.
        pooling: How the scored frames were pooled again, if they were.
        report: Told which splits could not be compared.

    Returns:
        One for each scored video and split, the most alike first.

    Raises:
        InputError: The features of two splits are of two models.
    """
    found: list[NearDuplicate] = []
    for other in store.manifest.splits:
        if other == split:
            continue
        try:
            cached = read_features(store, name, other)
            if not cached.video_ids:
                continue
            theirs = pooled_features(store, name, other, cached, pooling)
        except (NotInStoreError, ShardIncompleteError) as error:
            report.warn(f"near-duplicates in split {other!r} were not looked for: {error}")
            continue
        if theirs.video.shape[1] != features.video.shape[1]:
            raise InputError(
                f"features {name!r} have {features.video.shape[1]} dimensions in split {split!r} and "
                f"{theirs.video.shape[1]} in {other!r}: they are of two models"
            )
        phase = Phase("videos compared", 2 * len(features.video), report.listener)
        rows, nearest, cosines = near_rows(features.video, theirs.video, phase.done)
        found += (
            NearDuplicate(features.video_ids[row], other, theirs.video_ids[index], cosine)
            for row, index, cosine in zip(rows.tolist(), nearest.tolist(), cosines.tolist(), strict=True)
        )
    return tuple(sorted(found, key=lambda one: (-one.cosine, one.video_id)))


def near_rows(
    video: NDArray[np.float32], others: NDArray[np.float32], tell: Callable[[int], None] = lambda number: None
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Rows that are far nearer to some other row than is usual.

    Args:
        video: Shape (num_videos, dim), unit rows.
        others: Shape (num_others, dim), unit rows.
        tell: Hears how many rows are done: each twice.

    Returns:
        The rows of `video`, ascending; for each the nearest row of `others`; and their cosine.

    >>> near_rows(np.eye(4, dtype=np.float32), np.array([[0, 1, 0, 0], [0.6, 0, 0.8, 0]], dtype=np.float32))[:2]
    (array([1]), array([0]))
    """
    nearest, distances = _nearest(video, others, tell)
    _, usual = _nearest(video, video, tell, is_itself=True)
    rows = np.flatnonzero(distances <= SHARE_OF_USUAL * np.median(usual))
    return rows, nearest[rows], (1 - distances[rows]).astype(np.float32)


def _nearest(
    video: NDArray[np.float32], others: NDArray[np.float32], tell: Callable[[int], None], *, is_itself: bool = False
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The nearest row of `others`, and `1 - cosine`; of a set itself, the nearest other row."""
    step = max(1, _BLOCK_SCORES // len(others))
    nearest = np.empty(len(video), np.int64)
    for start in range(0, len(video), step):
        scores = video[start : start + step] @ others.T
        if is_itself:
            scores[np.arange(len(scores)), start + np.arange(len(scores))] = -np.inf
        nearest[start : start + step] = scores.argmax(axis=1)
        tell(len(scores))
    # From the difference, because 1 - cosine of near-equal rows is rounding alone.
    # Of unit rows, |a - b|^2 = 2 - 2 cos
    return nearest, ((video - others[nearest]).astype(np.float64) ** 2).sum(axis=1) / 2
