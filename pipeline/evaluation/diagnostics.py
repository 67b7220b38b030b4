"""Diagnostics beyond one number: hubs, the modality gap, the distribution of ranks, and confusions.

Ranks are `above + level` here, whatever the protocol: ties count against the model. A video is ranked by the best of
its captions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.ranking import RankCounts, Ranking
from pipeline.evaluation.scores.dot import Scores
from pipeline.evaluation.slices.inputs import caption_texts
from pipeline.evaluation.top_candidates import TopCandidates, top_videos
from pipeline.run.events import ItemsDone, Listener, RunPlanned, ignore_events
from store.features import Features
from store.json_values import JSON
from store.store import Store

NUM_HUBS = 10


@dataclass(frozen=True, slots=True)
class DiagnosticsOptions:
    """How many videos and captions diagnostics look at."""

    k: int = 10
    """For hubness: a caption finds its first `k` videos."""
    num_confusions: int | None = 20
    """Missed captions to show, the worst first; None: all."""
    num_shown: int = 3
    """Videos to show for each of these, at most `k`."""

    def __post_init__(self) -> None:
        if not 1 <= self.num_shown <= self.k:
            raise ValueError(f"num_shown must be in 1..k = {self.k}, got {self.num_shown}")


@dataclass(frozen=True, slots=True)
class Hub:
    """A video that is among the first k videos of many captions."""

    video_id: str
    num_found: int
    """Captions that have it among their first k videos."""
    num_own: int
    """Its own captions among these."""


@dataclass(frozen=True, slots=True)
class Hubness:
    """How unevenly videos are found. N_k of a video is the number of captions that have it among their first k videos.

    Radovanovic, Nanopoulos and Ivanovic, "Hubs in space", JMLR 11 (2010). If videos have different numbers of captions,
    N_k is uneven for that reason too: `Hub.num_own` is the part of a hub that is due to its own captions.
    """

    k: int
    skewness: float
    """Of N_k over videos, E[(N_k - mean)^3] / deviation^3; 0 if all videos are found equally often."""
    anti_hub_share: float
    """Share of the videos, 0..1, that no caption has among its first k videos."""
    hubs: tuple[Hub, ...]
    """The largest ones, at most `NUM_HUBS`."""


@dataclass(frozen=True, slots=True)
class ModalityGap:
    """How far apart unit embeddings of texts and videos are (Liang et al., "Mind the gap", NeurIPS 2022)."""

    distance: float
    """Between the mean of all captions and the mean of all videos, 0..2."""
    matched_cosine: float
    """Mean cosine of captions to their own video."""
    other_cosine: float | None
    """Mean cosine of all pairs of a caption and a video that is not its own; None if there is only one video."""


@dataclass(frozen=True, slots=True)
class RankHistogram:
    """Number of queries by rank, in bins that double: 1, 2, 3..4, 5..8, and so on."""

    num_candidates: int
    first: tuple[int, ...]
    """The lowest rank of each bin."""
    last: tuple[int, ...]
    """The highest rank of each bin; the bins cover 1..num_candidates."""
    counts: tuple[int, ...]

    @classmethod
    def of(cls, rank_counts: RankCounts) -> RankHistogram:
        """Histogram of the ranks of all queries.

        >>> histogram = RankHistogram.of(RankCounts(np.array([0, 1, 2, 4]), np.ones(4, int), num_candidates=6))
        >>> list(zip(histogram.first, histogram.last, histogram.counts))
        [(1, 1, 1), (2, 2, 1), (3, 4, 1), (5, 6, 1)]
        """
        num_bins = 1 + (rank_counts.num_candidates - 1).bit_length()
        ends = 2 ** np.arange(num_bins)
        counts = np.bincount(np.searchsorted(ends, rank_counts.above + rank_counts.level), minlength=num_bins)
        return cls(
            num_candidates=rank_counts.num_candidates,
            first=(1, *(int(end) + 1 for end in ends[:-1])),
            last=(*ends[:-1].tolist(), rank_counts.num_candidates),
            counts=tuple(counts.tolist()),
        )


@dataclass(frozen=True, slots=True)
class Retrieved:
    """One of the first videos of a caption."""

    video_id: str
    score: float
    is_own: bool


@dataclass(frozen=True, slots=True)
class Confusion:
    """A caption whose rank is over 1, and the videos that were ranked first instead."""

    caption_id: str
    text: str
    video_id: str
    """Its own video."""
    rank: int
    own_score: float
    retrieved: tuple[Retrieved, ...]
    """The first videos, best first; its own video too, if it is among them."""


@dataclass(frozen=True, slots=True)
class Diagnostics:
    """All diagnostics of one feature set on one split."""

    hubness: Hubness
    modality_gap: ModalityGap
    text_to_video: RankHistogram
    video_to_text: RankHistogram
    num_missed: int
    """Captions whose rank is over 1."""
    confusions: tuple[Confusion, ...]
    """Missed captions, the worst rank first."""

    def to_dict(self) -> dict[str, JSON]:
        """The fields as plain values, for JSON."""
        return asdict(self)


def diagnose(
    store: Store,
    ranking: Ranking,
    scores: Scores,
    split: str,
    options: DiagnosticsOptions | None = None,
    *,
    listener: Listener = ignore_events,
) -> Diagnostics:
    """Compute diagnostics; this takes one more pass over the scores.

    Args:
        store: The store of the features.
        ranking: The ranked features.
        scores: The scores that they were ranked by.
        split: The split of the features.
        options: How many videos and captions to look at.
        listener: Receives the progress.
    """
    options = options or DiagnosticsOptions()
    features = ranking.features
    listener(RunPlanned("queries", len(features.truth), 0))
    top = top_videos(scores, features.truth, options.k, _progress(listener))
    # (n, k) -> (n, num_shown): one pass serves both, as more videos are needed for hubs than are shown.
    shown = replace(top, items=top.items[:, : options.num_shown], scores=top.scores[:, : options.num_shown])
    ranks = ranking.to_video.above + ranking.to_video.level
    worst_first = np.argsort(-ranks, kind="stable")  # stable: equal ranks stay in the order of the catalogue
    missed = worst_first[: int((ranks > 1).sum())]
    texts = caption_texts(store, features, split)
    return Diagnostics(
        hubness=hubness(top.items, features),
        modality_gap=modality_gap(features),
        text_to_video=RankHistogram.of(ranking.to_video),
        video_to_text=RankHistogram.of(ranking.to_text.best),
        num_missed=len(missed),
        confusions=tuple(
            _confusion(row, features, texts[row], int(ranks[row]), shown)
            for row in missed[: options.num_confusions].tolist()
        ),
    )


def hubness(found: NDArray[np.int64], features: Features) -> Hubness:
    """Compute `Hubness`.

    Args:
        found: Shape (num_captions, k): the first videos of each caption.
        features: The features whose rows these are.
    """
    num_videos = len(features.video_ids)
    counts = np.bincount(found.ravel(), minlength=num_videos)
    # (n, k) == (n, 1) -> (n,): captions that find their own video, counted by video.
    own = np.bincount(features.truth[(found == features.truth[:, None]).any(axis=1)], minlength=num_videos)
    largest = np.argsort(-counts, kind="stable")[:NUM_HUBS].tolist()
    apart = counts - counts.mean()
    deviation = float(np.sqrt(np.mean(apart**2)))
    return Hubness(
        k=found.shape[1],
        skewness=float(np.mean(apart**3)) / deviation**3 if deviation else 0.0,
        anti_hub_share=float(np.mean(counts == 0)),
        hubs=tuple(Hub(features.video_ids[row], int(counts[row]), int(own[row])) for row in largest),
    )


def modality_gap(features: Features) -> ModalityGap:
    """Compute `ModalityGap` over all pairs: exact, not sampled, and without the matrix of scores."""
    text_scale, video_scale = (1 / np.linalg.norm(rows, axis=1) for rows in (features.text, features.video))
    num_texts, num_videos = len(text_scale), len(video_scale)
    # (n,) @ (n, dim): scaled to unit norm and summed in one product, without a copy of the embeddings.
    text_mean = (text_scale @ features.text).astype(np.float64) / num_texts
    video_mean = (video_scale @ features.video).astype(np.float64) / num_videos
    products = np.einsum("ij,ij->i", features.text, features.video[features.truth], dtype=np.float64)
    matched = float(np.sum(products * text_scale * video_scale[features.truth]))
    # The sum of all inner products is the inner product of the sums: no pair needs to be visited. Each caption is in
    # num_videos - 1 pairs with a video that is not its own.
    everything = float(text_mean @ video_mean) * num_texts * num_videos
    return ModalityGap(
        distance=float(np.linalg.norm(text_mean - video_mean)),
        matched_cosine=matched / num_texts,
        other_cosine=(everything - matched) / (num_texts * (num_videos - 1)) if num_videos > 1 else None,
    )


def _confusion(row: int, features: Features, text: str, rank: int, shown: TopCandidates) -> Confusion:
    own = int(features.truth[row])
    first = zip(shown.items[row].tolist(), shown.scores[row].tolist(), strict=True)
    return Confusion(
        caption_id=features.caption_ids[row],
        text=text,
        video_id=features.video_ids[own],
        rank=rank,
        own_score=float(shown.own[row]),
        retrieved=tuple(Retrieved(features.video_ids[video], score, video == own) for video, score in first),
    )


def _progress(listener: Listener) -> Callable[[int], None]:
    return lambda num_queries: listener(ItemsDone(num_queries))
