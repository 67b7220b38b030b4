"""Retrieval numbers from a feature set, with what they were computed on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pipeline.pooling import pool_frames
from pipeline.retrieval import RetrievalResult, evaluate_retrieval
from store.arrays import JSON
from store.errors import ShardIncompleteError
from store.features import read_features, read_frame_features
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
    pooling: str
    """Of frames into videos."""
    alpha_cosine: float | None
    """Mean cosine of videos to themselves with an alpha of all ones; None where that was not measured."""
    attributes: Mapping[str, JSON]
    """What made the features."""

    @property
    def chosen_on_test(self) -> bool:
        """Whether the model's best epoch was chosen by its score on test videos."""
        return self._of_model("chosen_on_test") is True

    @property
    def caveats(self) -> tuple[str, ...]:
        """Why the numbers flatter the model, each in a sentence."""
        found = []
        if self._of_model("train_split") == self.split:
            found.append(f"the model was TRAINED on a split of this name, {self.split!r}")
        if self._of_model("val_split") == self.split:
            found.append(f"the model's best epoch was CHOSEN on a split of this name, {self.split!r}")
        elif self.chosen_on_test:
            found.append("the model was trained or CHOSEN ON TEST VIDEOS (--choose-on-test)")
        return tuple(found)

    def _of_model(self, key: str) -> JSON:
        model = self.attributes.get("model")
        return model.get(key) if isinstance(model, Mapping) else None


def evaluate(store: Store, features: str, split: str, max_missing: float, pooling: str | None = None) -> Evaluation:
    """Score a feature set.

    Args:
        store: The store.
        features: Name of the feature set.
        split: Which split.
        max_missing: Share of the split's videos, in [0, 1], that may lack features.
        pooling: Of the frames' features into others of the videos; by default the latter are those that are cached.

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
    video, measured = cached.video, cached.alpha_cosine[np.isfinite(cached.alpha_cosine)]
    if pooling is not None:
        ids, frame = read_frame_features(store, features, split)
        if ids != cached.video_ids:
            raise ShardIncompleteError(
                f"features {features!r} changed while they were read: run the same command again"
            )
        video = pool_frames(frame, pooling)
    return Evaluation(
        features=features,
        split=split,
        protocol=PROTOCOL,
        num_videos=num_videos,
        num_videos_expected=num_expected,
        num_captions=len(cached.caption_ids),
        num_captions_expected=cached.num_captions_expected,
        metrics=evaluate_retrieval(cached.text, video, cached.truth),
        pooling=pooling or str(cached.attributes.get("pooling", "")),
        alpha_cosine=float(measured.mean()) if len(measured) else None,
        attributes=cached.attributes,
    )
