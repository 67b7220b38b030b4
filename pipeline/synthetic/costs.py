"""What a data set takes: counted from its plan, and estimated from what others took."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from pipeline.run.words import plural
from pipeline.synthetic.options import GenerateOptions
from pipeline.synthetic.planning import ClipPlan
from pipeline.synthetic.rendering import num_frames_of
from store.json_values import JSON

BYTES_A_PIXEL = 0.035
"""Of video and truth together, at 23 `compression` and 2 `noise`: measured, docs/generate.md says how. Noise gives
more: three times as much at 10."""
PIXELS_A_SECOND = 14e6
"""Rendered and encoded by one core: as above."""


@dataclass(frozen=True, slots=True)
class GenerationCost:
    """How much there is of a data set."""

    num_clips: int
    num_frames: int
    video_hours: float
    estimated_gb: float
    """1 GB is 10**9 bytes."""
    estimated_core_hours: float

    def __str__(self) -> str:
        """In one line."""
        hours = self.estimated_core_hours
        work = f"{hours:.1f} core-hours" if hours >= 1 else f"{plural(max(1, round(hours * 60)), 'core-minute')}"
        return (
            f"{plural(self.num_clips, 'clip')}, {self.video_hours:.2f} hours of video; "
            f"about {self.estimated_gb:.2f} GB and {work}"
        )

    def to_dict(self) -> dict[str, JSON]:
        """The fields as JSON."""
        return asdict(self)


def cost_of(options: GenerateOptions, clips: Sequence[ClipPlan]) -> GenerationCost:
    """What the clips of a data set take."""
    amount = options.amount
    num_frames = sum(num_frames_of(clip.settings, amount) for clip in clips)
    pixels = num_frames * amount.width * amount.height
    return GenerationCost(
        num_clips=len(clips),
        num_frames=num_frames,
        video_hours=num_frames / amount.fps / 3600,
        estimated_gb=pixels * BYTES_A_PIXEL / 1e9,
        estimated_core_hours=pixels / PIXELS_A_SECOND / 3600,
    )
