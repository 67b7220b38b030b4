"""What a search gives."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.search.options import Query
from store.json_values import JSON


@dataclass(frozen=True, slots=True)
class FrameScore:
    """One frame of a video, and how much it is like the query."""

    frame: int
    """Its slot in the clip, from 0."""
    seconds: float
    """When it is shown, since the first frame of the video stream."""
    score: float
    """Cosine."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A video that was found, or a caption with its video."""

    rank: int
    """From 1."""
    score: float
    """Cosine, by which hits are ordered."""
    store: str
    features: str
    split: str
    video_id: str
    row: int
    """Of the video, in its split."""
    frames: tuple[FrameScore, ...]
    """The video's frames in order of time; none where frame features cannot be compared with the query."""
    caption_id: str | None = None
    """Of the caption that was found; None where videos are."""
    caption: str | None = None
    """Its text; of a video, its first caption."""

    @property
    def moment(self) -> FrameScore | None:
        """The frame that is most like the query, of equal ones the first."""
        return max(self.frames, key=lambda frame: frame.score) if self.frames else None

    def to_dict(self) -> dict[str, JSON]:
        """The fields as JSON."""
        moment = self.moment
        return {**asdict(self), "moment": None if moment is None else asdict(moment)}


@dataclass(frozen=True, slots=True)
class Answer:
    """What was found for one query in one feature set, best first."""

    query: Query
    features: str
    encoder: str
    """Which model answers, with the first digits of its weights' sha256."""
    hits: tuple[Hit, ...]
    num_candidates: int
    """Videos or captions that were compared, after the filters."""
    stores: tuple[str, ...] = ()
    """Where they are from: those whose features this encoder made."""

    def to_dict(self) -> dict[str, JSON]:
        """The answer as JSON."""
        return {
            "query": self.query.value,
            "kind": str(self.query.kind),
            "features": self.features,
            "encoder": self.encoder,
            "stores": list(self.stores),
            "num_candidates": self.num_candidates,
            "hits": [hit.to_dict() for hit in self.hits],
        }


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The answers to all queries, for each query one a feature set."""

    answers: tuple[Answer, ...]
    seconds: float
    warnings: tuple[str, ...]
    page: Path | None = None

    def to_dict(self) -> dict[str, JSON]:
        """The result as JSON."""
        return {
            "page": None if self.page is None else str(self.page.absolute()),
            "answers": [answer.to_dict() for answer in self.answers],
            "seconds": round(self.seconds, 3),
            "warnings": list(self.warnings),
        }


def frame_scores(scores: list[float], seconds: list[float]) -> tuple[FrameScore, ...]:
    """The frames of a clip that exist.

    >>> frame_scores([0.5, float("nan")], [2.0, float("nan")])
    (FrameScore(frame=0, seconds=2.0, score=0.5),)
    """
    slots = enumerate(zip(scores, seconds, strict=True))
    return tuple(
        FrameScore(slot, time, score) for slot, (score, time) in slots if math.isfinite(score) and math.isfinite(time)
    )
