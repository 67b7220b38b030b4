"""Retrieval numbers from a feature set, with what they were computed on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from pipeline.evaluation.metrics import Ties
from pipeline.evaluation.pooling import pool_frames
from pipeline.evaluation.protocols import PROTOCOLS, RetrievalResult
from pipeline.evaluation.ranking import Standings, TextStandings, text_to_video, video_to_text
from pipeline.evaluation.scores import DotScores, Put, Scores
from pipeline.events import ItemsDone, Listener, RunPlanned, ignore_events
from store.arrays import JSON
from store.errors import ShardIncompleteError
from store.features import Features, read_features, read_frame_features
from store.store import Store


class TooManyMissingError(ValueError):
    """Too many videos of the split have no features for its numbers to mean what they seem to."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """A feature set of one split, ranked: all that metrics, intervals, comparisons and slices are made of."""

    features: Features
    """What was ranked. Query `i` of `to_video` is its caption `i`, and describes video `truth[i]`."""
    to_video: Standings
    to_text: TextStandings


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Retrieval metrics of one feature set on one split, and how much of the split they cover."""

    features: str
    split: str
    protocol: str
    """The one that was asked for."""
    num_videos: int
    """Videos that were scored."""
    num_videos_expected: int
    """Videos of the split."""
    num_captions: int
    num_captions_expected: int
    results: Mapping[str, RetrievalResult]
    """Protocol -> metrics, of all that can be applied."""
    inapplicable: Mapping[str, str]
    """Protocol -> why it cannot be."""
    ranking: Ranking
    pooling: str
    """Of frames into videos."""
    alpha_cosine: float | None
    """Mean cosine of videos to themselves with an alpha of all ones; None where that was not measured."""
    attributes: Mapping[str, JSON]
    """What made the features."""

    @property
    def metrics(self) -> RetrievalResult:
        """Under the protocol that was asked for."""
        return self.results[self.protocol]

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


def scorable_features(
    store: Store, name: str, split: str, max_missing: float, pooling: str | None = None
) -> Features:
    """Read a feature set of which enough is there.

    Args:
        store: The store.
        name: Of the feature set.
        split: Which split.
        max_missing: Share of the split's videos, in [0, 1], that may lack features.
        pooling: Of the frames' features into others of the videos; by default the latter are those that are cached.

    Raises:
        TooManyMissingError: More do.
        NotInStoreError: There are no such features.
        ShardIncompleteError: They are not complete, or out of date.
    """
    cached = read_features(store, name, split)
    num_videos, num_expected = len(cached.video_ids), cached.num_videos_expected
    missing = (num_expected - num_videos) / num_expected
    if missing > max_missing or num_videos == 0:
        raise TooManyMissingError(
            f"{num_expected - num_videos} of {num_expected} videos of split {split!r} ({missing:.1%}) have no "
            f"features, over the limit of {max_missing:.1%}: mend the videos (`fda preprocess` says what is wrong), "
            "or raise --max-missing to score the rest"
        )
    if pooling is None:
        return cached
    ids, frame = read_frame_features(store, name, split)
    if ids != cached.video_ids:
        raise ShardIncompleteError(f"features {name!r} changed while they were read: run the same command again")
    return replace(cached, video=pool_frames(frame, pooling))


def rank(features: Features, scores: Scores, listener: Listener = ignore_events) -> Ranking:
    """Rank a feature set by some scores of its captions and videos."""
    num_captions, num_videos = len(features.truth), len(np.unique(features.truth))
    listener(RunPlanned("queries", num_captions + num_videos, 0))

    def tell(num_queries: int) -> None:
        listener(ItemsDone(num_queries))

    return Ranking(
        features,
        text_to_video(scores, features.truth, tell),
        video_to_text(scores, features.truth, tell, gains=num_captions > num_videos),
    )


def evaluate(
    store: Store,
    features: str,
    split: str,
    max_missing: float,
    pooling: str | None = None,
    *,
    protocol: str = "fda",
    ties: Ties | None = None,
    put: Put = lambda array: array,
    listener: Listener = ignore_events,
) -> Evaluation:
    """Score a feature set.

    Args:
        store: The store.
        features: Name of the feature set.
        split: Which split.
        max_missing: Share of the split's videos, in [0, 1], that may lack features.
        pooling: Of the frames' features into others of the videos; by default the latter are those that are cached.
        protocol: Which of `PROTOCOLS` is asked for; it must be applicable.
        ties: Another rule for ties than each protocol's own.
        put: Moves embeddings to the device that computes.
        listener: Is told how far it is.

    Raises:
        ValueError: The protocol cannot be applied to these captions, or embeddings cannot be scored.
        TooManyMissingError: Too many videos have no features.
        NotInStoreError: There are no such features.
        ShardIncompleteError: They are not complete, or out of date.
    """
    found = scorable_features(store, features, split, max_missing, pooling)
    are_paragraphs = store.manifest.dataset.get("caption_unit") == "paragraph"
    reasons = {name: one.why_not(found.truth, are_paragraphs=are_paragraphs) for name, one in PROTOCOLS.items()}
    if reasons[protocol]:
        raise ValueError(f"protocol {protocol!r} cannot be applied to split {split!r}: {reasons[protocol]}")
    ranking = rank(found, DotScores(found.text, found.video, put), listener)
    applicable = [PROTOCOLS[name].with_ties(ties) for name, reason in reasons.items() if not reason]
    measured = found.alpha_cosine[np.isfinite(found.alpha_cosine)]
    return Evaluation(
        features=features,
        split=split,
        protocol=protocol,
        num_videos=len(found.video_ids),
        num_videos_expected=found.num_videos_expected,
        num_captions=len(found.caption_ids),
        num_captions_expected=found.num_captions_expected,
        results={one.name: one.score(ranking.to_video, ranking.to_text) for one in applicable},
        inapplicable={name: reason for name, reason in reasons.items() if reason},
        ranking=ranking,
        pooling=pooling or str(found.attributes.get("pooling", "")),
        alpha_cosine=float(measured.mean()) if len(measured) else None,
        attributes=found.attributes,
    )
