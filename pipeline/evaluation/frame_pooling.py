"""Ways to score a text by the frames of a video, each with one value, and how that value is chosen on validation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.metrics import metrics_of
from pipeline.evaluation.names import FRAME_POOLINGS
from pipeline.evaluation.protocols import Ties
from pipeline.evaluation.ranking import text_to_video
from pipeline.evaluation.scores.attention import AttentionScores
from pipeline.evaluation.scores.dot import Put, Scores
from pipeline.evaluation.scores.frames import FrameScores
from pipeline.evaluation.scores.shots import neighbour_distances, shot_features
from pipeline.run.events import Listener, Phase, ignore_events
from pipeline.run.words import plural
from store.features import Features

TEMPERATURES = (100.0, 1.0, 0.3, 0.1, 0.05, 0.03, 0.02, 0.01, 0.005)
"""To choose from: 100 weights all frames alike, whatever their cosines. Those of CLIP differ by some hundredths, so
that 0.005 takes the best frame."""
DISTANCE_SHARES = (0.99, 0.95, 0.9, 0.8, 0.6, 0.4, 0.2)
"""Distances to choose from: so many of the neighbouring frames of the videos to choose on are in one shot. Beside them
all, so that a video is one shot, and none, so that each frame is a shot."""
_ONE_SHOT, _SINGLE_FRAMES = 2.0, -1.0


@dataclass(frozen=True, slots=True)
class FramePooling:
    """A rule with its value."""

    rule: str
    """One of `FRAME_POOLINGS`: see `AttentionScores`, `shot_features`, `FrameScores`."""
    value: float
    """The temperature; the distance at which shots end; the number of frames."""

    def __post_init__(self) -> None:
        if self.rule not in FRAME_POOLINGS:
            raise ValueError(f"rule must be one of {', '.join(FRAME_POOLINGS)}, got {self.rule!r}")

    def scores(self, text: NDArray[np.float32], frame: NDArray[np.float32], put: Put = lambda array: array) -> Scores:
        """Scores of texts and videos.

        Args:
            text: Shape (num_texts, dim), unit rows.
            frame: Shape (num_videos, num_frames, dim), of any norm; NaN for a frame that a video does not have.
            put: Moves embeddings to the device that computes.

        Raises:
            ValueError: As for `TiledScores`.
        """
        match self.rule:
            case "attention":
                return AttentionScores(text, frame, self.value, put)
            case "best-shot":
                return FrameScores(text, shot_features(frame, self.value), 1, put)
            case _:
                return FrameScores(text, frame, int(self.value), put)

    def __str__(self) -> str:
        """In words, for a report.

        >>> str(FramePooling("attention", 0.05)), str(FramePooling("best-frames", 3))
        ('attention (temperature 0.05)', 'top 3 frames')
        """
        match self.rule:
            case "attention":
                return f"attention (temperature {self.value:g})"
            case "best-shot" if self.value >= _ONE_SHOT:
                return "best shot (one shot a video)"
            case "best-shot" if self.value < 0:
                return "best shot (each frame a shot)"
            case "best-shot":
                return f"best shot (distance {self.value:.3g})"
            case _:
                return f"top {plural(int(self.value), 'frame')}"


def candidates_of(rule: str, frame: NDArray[np.float32]) -> tuple[float, ...]:
    """The values to choose from, those that treat all frames the same first.

    Args:
        rule: One of `FRAME_POOLINGS`.
        frame: Of the videos to choose on, see `FramePooling.scores`.

    >>> candidates_of("best-frames", np.ones((1, 12, 2), np.float32))
    (12.0, 8.0, 6.0, 4.0, 3.0, 2.0, 1.0)
    """
    match rule:
        case "attention":
            return TEMPERATURES
        case "best-shot":
            distances = neighbour_distances(frame)
            ends = np.quantile(distances, DISTANCE_SHARES).tolist() if len(distances) else []
            return tuple(dict.fromkeys((_ONE_SHOT, *ends, _SINGLE_FRAMES)))
        case _:
            most = frame.shape[1]
            shares = (most, 2 * most // 3, most // 2, most // 3, most // 4, most // 6, most // 12, 3, 2, 1)
            return tuple(sorted({float(number) for number in shares if 1 <= number <= most}, reverse=True))


def best_value(
    rule: str,
    candidates: Sequence[float],
    features: Features,
    frame: NDArray[np.float32],
    put: Put = lambda array: array,
    listener: Listener = ignore_events,
) -> float:
    """The value with the best text-to-video R@1, and among those with the best mean rank; of equals, the first.

    Args:
        rule: One of `FRAME_POOLINGS`.
        candidates: Of `candidates_of`.
        features: Captions and videos to choose on: never those that are scored.
        frame: Of these videos.
        put: Moves embeddings to the device that computes.
        listener: Hears how far it is.
    """

    def quality(value: float) -> tuple[float, float]:
        counts = text_to_video(FramePooling(rule, value).scores(features.text, frame, put), features.truth)
        found = metrics_of(counts, Ties.PESSIMISTIC)
        return found.r1, -found.mean_rank  # the mean rank tells values apart where few videos give few different R@1

    return max(Phase("values to choose from", len(candidates), listener).each(candidates), key=quality)
