"""Retrieval metrics of a feature set, and how much of the split they cover."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError, PipelineError
from pipeline.evaluation.arrays import UNIT_TOLERANCE
from pipeline.evaluation.caveats import caveats_of
from pipeline.evaluation.frame_pooling import FramePooling, best_value, candidates_of
from pipeline.evaluation.metrics import RetrievalResult, score
from pipeline.evaluation.options import EvalOptions
from pipeline.evaluation.postprocess import DualSoftmax, QueryBankNorm
from pipeline.evaluation.protocols import PROTOCOLS, Protocol
from pipeline.evaluation.ranking import Ranking, rank
from pipeline.evaluation.scores.dot import DotScores, Put, Scores, Tiles
from pipeline.evaluation.scores.pooling import pool_frames
from pipeline.run.events import Listener, ignore_events
from pipeline.run.limits import Limit
from pipeline.run.words import plural
from store.errors import NotInStoreError, ShardIncompleteError
from store.features import Features, read_features, read_frame_features
from store.json_values import JSON
from store.store import Store


class TooManyMissingError(PipelineError, ValueError):
    """Too many videos of the split have no features: metrics of the rest could not be compared with other results."""


@dataclass(frozen=True, slots=True)
class Bank:
    """The split whose captions and videos are the query banks of QB-Norm."""

    split: str
    num_videos: int
    num_videos_expected: int
    num_captions: int


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Retrieval metrics of one feature set on one split, and how much of the split they cover."""

    features: str
    split: str
    protocol: str
    """The chosen protocol."""
    num_videos: int
    """Videos that were scored."""
    num_videos_expected: int
    """Videos of the split."""
    num_captions: int
    num_captions_expected: int
    metrics: RetrievalResult
    """Under the chosen protocol, with the chosen rule for ties."""
    results: Mapping[str, RetrievalResult]
    """Protocol -> metrics with its own rule for ties, for each protocol that can be applied."""
    inapplicable: Mapping[str, str]
    """Protocol -> why it cannot be applied."""
    ranking: Ranking
    scores: Scores
    """The scores that were ranked, without post-processing."""
    bank: Bank | None
    """None without QB-Norm."""
    processed: Mapping[str, RetrievalResult]
    """Name of a post-processing -> metrics under the chosen protocol. Always report them with this name: they cannot be
    compared with plain metrics."""
    pooling: str
    """How frames became videos."""
    alpha_cosine: float | None
    """Mean cosine of videos to themselves encoded with an alpha of all ones; None if it was not measured."""
    attributes: Mapping[str, JSON]
    """What made the features."""
    caveats: tuple[str, ...] = ()
    """See `caveats_of`; none where the scores are of no store."""

    def with_processed(
        self,
        changed: Mapping[str, Tiles],
        counted: Protocol,
        bank: Bank | None = None,
        listener: Listener = ignore_events,
    ) -> Evaluation:
        """The same, with metrics of post-processed scores: name of the processing -> scores."""
        rankings = {key: rank(self.ranking.features, one, listener) for key, one in changed.items()}
        processed = {key: score(one.to_video, one.to_text, counted) for key, one in rankings.items()}
        return replace(self, processed=processed, bank=bank)

    @property
    def chosen_on_test(self) -> bool:
        """Whether the model's weights were chosen by their score on test videos, here or before a further training."""
        model = self.attributes.get("model")
        return isinstance(model, Mapping) and model.get("chosen_on_test") is True


def scorable_features(store: Store, name: str, split: str, max_missing: Limit, pooling: str | None = None) -> Features:
    """Read a feature set, and refuse it if too many videos have no features.

    Args:
        store: The store.
        name: Name of the feature set.
        split: The split to read.
        max_missing: How many of the split's videos may lack features.
        pooling: Pool the cached features of frames again; by default, use the cached features of videos.

    Raises:
        TooManyMissingError: More videos lack features, or all do.
        ValueError: No caption has a video with features, or embeddings are NaN or not of unit norm.
        NotInStoreError: There are no such features.
        ShardIncompleteError: They are not complete, or out of date.
    """
    cached = read_features(store, name, split)
    num_videos, num_expected = len(cached.video_ids), cached.num_videos_expected
    missing = (num_expected - num_videos) / num_expected
    if num_videos == 0:  # whatever the limit: --max-missing 100% is no reason to score nothing
        raise TooManyMissingError(
            f"{num_expected} of {plural(num_expected, 'video')} of split {split!r} have no features, so nothing can be "
            "scored: repair the videos, `fda preprocess` reports the reasons"
        )
    if num_expected - num_videos > max_missing(num_expected):
        raise TooManyMissingError(
            f"{num_expected - num_videos} of {plural(num_expected, 'video')} of split {split!r} ({missing:.1%}) have "
            f"no features, over the limit of {max_missing}: repair the videos (`fda preprocess` reports the "
            "reasons) or raise --max-missing to score the rest"
        )
    if not len(cached.truth):
        raise InputError(
            f"split {split!r} has no caption of a video with features: there is nothing to score. Add captions to the "
            "data set, and run `fda preprocess` and `fda encode` again"
        )
    # Videos are checked where it is known whether they are used as they are, or pooled again from frames.
    _require_unit_rows(f"the captions of features {name!r}, split {split!r}", cached.text, cached.caption_ids)
    return pooled_features(store, name, split, cached, pooling)


def pooled_features(store: Store, name: str, split: str, cached: Features, pooling: str | None) -> Features:
    """Features with their videos pooled again, if that is asked for; else, it is checked that these can be scored.

    Raises:
        InputError: Embeddings of videos are NaN or not of unit norm, or there are no frames to pool.
        ShardIncompleteError: The features were rebuilt while they were read.
    """
    if pooling is None:
        _require_unit_rows(f"the videos of features {name!r}, split {split!r}", cached.video, cached.video_ids)
        return cached
    return replace(cached, video=pool_frames(frames_of(store, name, split, cached), pooling))


def _require_unit_rows(whose: str, embeddings: NDArray[np.float32], ids: Sequence[str]) -> None:
    """Refuse embeddings that are not of unit norm: no encoder writes them, and their scores would not be cosines."""
    norms = np.linalg.norm(embeddings, axis=1)
    wrong = np.flatnonzero(~(np.abs(norms - 1) < UNIT_TOLERANCE))  # NaN compares false, so that it is wrong as well
    if len(wrong):
        first = ", ".join(ids[row] for row in wrong[:5].tolist()) + (", ..." if len(wrong) > 5 else "")
        raise InputError(
            f"{whose}: {len(wrong)} of {plural(len(ids), 'embedding')} are NaN or not of unit norm ({first}): "
            "`fda verify` checks whether the files are damaged, and the command that made them rebuilds them with "
            "--overwrite --yes"
        )


def frames_of(store: Store, name: str, split: str, features: Features) -> NDArray[np.float32]:
    """The cached features of frames of the videos of `features`: see `read_frame_features`.

    Raises:
        InputError: None are cached.
        ShardIncompleteError: They were rebuilt since `features` were read.
    """
    ids, frame = read_frame_features(store, name, split)
    # Features of frames are a second read, and another process may have encoded between the two.
    if ids != features.video_ids:
        raise ShardIncompleteError(f"features {name!r} changed while they were read: run the same command again")
    if np.isnan(frame[:1]).all():  # a clip has a frame: these were imported, without frames
        raise InputError(f"features {name!r} have no frames: they were imported without (`import-features --frame`)")
    return frame


def has_paragraphs(store: Store) -> bool:
    """Whether a caption is all sentences of a video in one, as in ActivityNet."""
    return store.manifest.dataset.get("caption_unit") == "paragraph"


def why_inapplicable(features: Features, protocol: Protocol, *, are_paragraphs: bool) -> str:
    """Why a protocol cannot be applied to these features, as half a sentence; an empty text if it can."""
    return protocol.why_not(int(np.bincount(features.truth).max()), are_paragraphs=are_paragraphs)


def require_applicable(features: Features, whose: str, protocol: Protocol, *, are_paragraphs: bool) -> None:
    """Check that a protocol can be applied.

    Raises:
        ValueError: It cannot; the message has the reason.
    """
    if reason := why_inapplicable(features, protocol, are_paragraphs=are_paragraphs):
        raise InputError(f"protocol {protocol.name!r} cannot be applied to {whose}: {reason}")


def evaluate(
    store: Store,
    features: str,
    options: EvalOptions | None = None,
    *,
    put: Put = lambda array: array,
    listener: Listener = ignore_events,
) -> Evaluation:
    """Compute retrieval metrics of a feature set.

    Args:
        store: The store.
        features: Name of the feature set.
        options: What is scored, and how ranks are counted.
        put: Moves embeddings to the device that computes.
        listener: Receives the progress: a plan for each ranking, then the queries done.

    Raises:
        ValueError: The protocol cannot be applied to these captions, there are none, or embeddings cannot be scored.
        TooManyMissingError: Too many videos have no features.
        NotInStoreError: There are no such features.
        ShardIncompleteError: They are not complete, or out of date.
    """
    task = _Task(store, features, options or EvalOptions(), put, listener)
    options, split = task.options, task.options.split
    found, are_paragraphs = task.read(split), has_paragraphs(store)
    # Before the scores, which take the time.
    require_applicable(found, f"split {split!r}", options.counted, are_paragraphs=are_paragraphs)
    scores, pooling = task.scores(found)
    changed, bank = task.changed(found, scores)
    evaluation = evaluate_scores(
        found, scores, options, features=features, pooling=pooling, are_paragraphs=are_paragraphs, listener=listener
    )
    evaluation = evaluation.with_processed(changed, options.counted, bank, listener)
    return replace(evaluation, caveats=caveats_of(store, found, split))


def evaluate_scores(
    found: Features,
    scores: Scores,
    options: EvalOptions,
    *,
    features: str,
    pooling: str,
    are_paragraphs: bool = False,
    listener: Listener = ignore_events,
) -> Evaluation:
    """Retrieval metrics of scores under every protocol that can be applied.

    Args:
        found: What was scored.
        scores: Of its captions and videos.
        options: How ranks are counted; the chosen protocol can be applied.
        features: The name of what was scored, and the next: how frames became videos.
        pooling: See `Evaluation`.
        are_paragraphs: Whether a caption is all sentences of a video in one.
        listener: Receives the progress.
    """
    # One ranking serves all protocols: they differ only in how they count the same ranks.
    reasons = {name: why_inapplicable(found, one, are_paragraphs=are_paragraphs) for name, one in PROTOCOLS.items()}
    ranking = rank(found, scores, listener)
    # NaN marks videos for which the cosine was not measured.
    measured = found.alpha_cosine[np.isfinite(found.alpha_cosine)]
    return Evaluation(
        features=features,
        split=options.split,
        protocol=options.protocol,
        num_videos=len(found.video_ids),
        num_videos_expected=found.num_videos_expected,
        num_captions=len(found.caption_ids),
        num_captions_expected=found.num_captions_expected,
        metrics=score(ranking.to_video, ranking.to_text, options.counted),
        results={
            name: score(ranking.to_video, ranking.to_text, PROTOCOLS[name])
            for name, reason in reasons.items()
            if not reason
        },
        inapplicable={name: reason for name, reason in reasons.items() if reason},
        ranking=ranking,
        scores=scores,
        bank=None,
        processed={},
        pooling=pooling,
        alpha_cosine=float(measured.mean()) if len(measured) else None,
        attributes=found.attributes,
    )


@dataclass(frozen=True, slots=True)
class _Task:
    """What `evaluate` was asked for."""

    store: Store
    name: str
    """Of the feature set."""
    options: EvalOptions
    put: Put
    listener: Listener

    def read(self, split: str) -> Features:
        """The features of a split, pooled as the options say."""
        return scorable_features(self.store, self.name, split, self.options.max_missing, self.options.video_pooling)

    def _bank(self, split: str) -> Features:
        try:
            return self.read(split)
        except NotInStoreError as error:
            raise NotInStoreError(f"--qb-norm takes its bank from split {split!r} (--bank-split): {error}") from error

    def scores(self, features: Features) -> tuple[Scores, str]:
        """Scores of the captions and videos of the split, and how frames became videos."""
        rule = self.options.frame_pooling
        if rule is None:
            pooling = self.options.video_pooling or str(features.attributes.get("pooling"))
            return DotScores(features.text, features.video, self.put), pooling
        frame = frames_of(self.store, self.name, self.options.split, features)
        num_top, value = self.options.top_frames, self.options.frame_value
        if num_top is not None and num_top > frame.shape[1]:
            raise InputError(
                f"--top-frames must be at most {frame.shape[1]}, the frames of a clip of split "
                f"{self.options.split!r}, got {num_top}"
            )
        by_frames = FramePooling(rule, value if value is not None else self._chosen(rule))
        chosen = f", chosen on {self.options.choose_split}" if value is None else ""
        return by_frames.scores(features.text, frame, self.put), f"{by_frames}{chosen}"

    def _chosen(self, rule: str) -> float:
        """The value of a rule with the best R@1 on the split to choose on."""
        split = self.options.choose_split
        try:
            found = scorable_features(self.store, self.name, split, self.options.max_missing)
        except NotInStoreError as error:
            raise NotInStoreError(
                f"--pooling {rule} chooses its value on split {split!r} (--choose-split), or takes one: {error}"
            ) from error
        frame = frames_of(self.store, self.name, split, found)
        return best_value(rule, candidates_of(rule, frame), found, frame, self.put, self.listener)

    def changed(self, features: Features, scores: Scores) -> tuple[dict[str, Tiles], Bank | None]:
        """Post-processed scores by the name of the processing; and the bank of QB-Norm, if it is used."""
        changed: dict[str, Tiles] = {}
        bank: Bank | None = None
        if self.options.dsl_temperature is not None:
            changed["dsl"] = DualSoftmax(scores, self.options.dsl_temperature)
        if self.options.bank_split is not None:
            found = self._bank(self.options.bank_split)
            # A bank has the queries of the other split, and the candidates of this one: in each direction one of the
            # two.
            texts = DotScores(found.text, features.video, self.put)
            videos = DotScores(features.text, found.video, self.put)
            changed["qb-norm"] = QueryBankNorm(scores, texts, videos)
            num_videos, num_captions = len(found.video_ids), len(found.caption_ids)
            bank = Bank(self.options.bank_split, num_videos, found.num_videos_expected, num_captions)
        return changed, bank
