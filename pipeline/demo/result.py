"""What the demo measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.run import EvalReport
from pipeline.training.checkpoint import TrainingHistory
from store.clips.layout import Masks
from store.json_values import JSON

MASKS, OBJECTS, ONES, SHUFFLED = "masks", "objects", "ones", "shuffled"
"""Names of the demo's feature sets."""


@dataclass(frozen=True, slots=True)
class DemoClip:
    """One test clip, with where the model ranks it for its own caption."""

    video_id: str
    caption: str
    frames: NDArray[np.uint8]
    """Shape (num_frames, height, width, 3), RGB."""
    masks: Masks
    """Shape (num_frames, height, width)."""
    rank_with_masks: int
    """Among all test clips; 1 is best."""
    rank_without: int


@dataclass(frozen=True, slots=True)
class DemoResult:
    """What the demo measured."""

    is_quick: bool
    """Whether the models saw so little that the numbers say nothing of masks."""
    moving: Mapping[str, EvalReport]
    """By feature set, on the split `test`, whose captions name the object that moves."""
    still: Mapping[str, EvalReport]
    """By feature set, on the split `still`, whose captions name an object that rests."""
    histories: Mapping[str, TrainingHistory]
    """By feature set: how the training went."""
    chance_r1: float
    """R@1 in percent of a guess."""
    bound_r1: float
    """R@1 in percent of an ideal model that sees single frames: it knows every object, and not which one moves."""
    num_test_clips: int
    clips: tuple[DemoClip, ...]
    """The first test clips."""
    page: Path
    """The report of the store, with what the demo shows as its first section."""
    seconds: float
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, JSON]:
        """The result as JSON."""
        return {
            "quick": self.is_quick,
            "test": {name: report.to_dict() for name, report in self.moving.items()},
            "still": {name: report.to_dict() for name, report in self.still.items()},
            "chance_r1": self.chance_r1,
            "single_frame_bound_r1": self.bound_r1,
            "page": str(self.page),
            "seconds": round(self.seconds, 1),
            "warnings": list(self.warnings),
        }
