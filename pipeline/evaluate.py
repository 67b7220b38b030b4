"""Retrieval numbers from a feature set, with what they were computed on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.retrieval import RetrievalResult, evaluate_retrieval
from store.arrays import JSON
from store.features import read_features
from store.store import Store

PROTOCOL = "fda"
"""Every caption is a query; a tie counts against the model; video-to-text by a video's best caption; NaN is refused."""


class TooManyMissingError(ValueError):
    """Too many videos of the split have no features for its numbers to mean what they seem to."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Retrieval metrics of one feature set on one split, and how much of the split they cover."""

    features: str
    split: str
    protocol: str
    num_videos: int
    """Videos that were scored."""
    num_videos_expected: int
    """Videos of the split."""
    num_captions: int
    num_captions_expected: int
    metrics: RetrievalResult
    attributes: Mapping[str, JSON]
    """What made the features."""


def evaluate(store: Store, features: str, split: str, max_missing: float) -> Evaluation:
    """Score a feature set.

    Args:
        store: The store.
        features: Name of the feature set.
        split: Which split.
        max_missing: Share of the split's videos, in [0, 1], that may lack features.

    Raises:
        TooManyMissingError: More do.
        NotInStoreError: There are no such features.
        ShardIncompleteError: They are not complete, or out of date.
    """
    cached = read_features(store, features, split)
    num_videos, num_expected = len(cached.video_ids), cached.num_videos_expected
    missing = (num_expected - num_videos) / num_expected
    if missing > max_missing or num_videos == 0:
        raise TooManyMissingError(
            f"{num_expected - num_videos} of {num_expected} videos of split {split!r} ({missing:.1%}) have no "
            f"features, over the limit of {max_missing:.1%}: mend the videos (`fda preprocess` says what is wrong), "
            "or raise --max-missing to score the rest"
        )
    return Evaluation(
        features=features,
        split=split,
        protocol=PROTOCOL,
        num_videos=num_videos,
        num_videos_expected=num_expected,
        num_captions=len(cached.caption_ids),
        num_captions_expected=cached.num_captions_expected,
        metrics=evaluate_retrieval(cached.text, cached.video, cached.truth),
        attributes=cached.attributes,
    )
