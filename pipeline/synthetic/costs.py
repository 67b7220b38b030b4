"""What a data set takes: counted from its plan, and estimated from what others took."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from pipeline.run.words import plural
from pipeline.synthetic.factors import Settings
from pipeline.synthetic.options import GenerateOptions
from pipeline.synthetic.planning import ClipPlan
from pipeline.synthetic.rendering import num_frames_of
from store.json_values import JSON

_PIXELS_A_SECOND = 13e6
"""Rendered and encoded by one core. This and all below are measured on the tiny suites: docs/generate.md says how."""
_VIDEO_BYTES = 0.023
"""A pixel, with the usual noise and compression."""
_TRUTH_BYTES = 0.005
_BITRATE_HALVED_BY = 4.0
"""Steps of `compression`; 3.5 measured below the usual, and 6.7 above it."""
SECONDS_BELOW = 2
"""Minutes, below which work is told in seconds."""
_LEAST_NOISE = 0.75
_NOISE_POWER = 1.3
"""Ten grey levels of noise take eight times as much as two, and none takes three quarters."""


@dataclass(frozen=True, slots=True)
class GenerationCost:
    """How much there is of a data set."""

    num_clips: int
    num_frames: int
    video_hours: float
    estimated_gb: float
    """1 GB is 10**9 bytes. With backgrounds of one's own, it may be several times as much."""
    estimated_core_hours: float

    def __str__(self) -> str:
        """In one line."""
        hours, size = self.estimated_core_hours, self.estimated_gb
        if hours >= 1:
            work = f"{hours:.1f} core-hours"
        elif hours * 60 >= SECONDS_BELOW:
            work = plural(round(hours * 60), "core-minute")
        else:
            work = plural(max(1, round(hours * 3600)), "core-second")
        disk = f"{size:.1f} GB" if size >= 1 else f"{max(1, round(size * 1000)):,} MB"
        return f"{plural(self.num_clips, 'clip')}, {self.video_hours:.2f} hours of video; about {disk} and {work}"

    def to_dict(self) -> dict[str, JSON]:
        """The fields as JSON."""
        return asdict(self)


def cost_of(options: GenerateOptions, clips: Sequence[ClipPlan]) -> GenerationCost:
    """What the clips of a data set take."""
    amount = options.amount
    counts = [num_frames_of(clip.settings, amount) for clip in clips]
    area, num_frames = amount.width * amount.height, sum(counts)
    num_bytes = sum(number * area * _bytes_a_pixel(clip.settings) for clip, number in zip(clips, counts, strict=True))
    return GenerationCost(
        num_clips=len(clips),
        num_frames=num_frames,
        video_hours=num_frames / amount.fps / 3600,
        estimated_gb=num_bytes / 1e9,
        estimated_core_hours=num_frames * area / _PIXELS_A_SECOND / 3600,
    )


def _bytes_a_pixel(settings: Settings) -> float:
    usual = Settings()
    quality = math.pow(2, (usual.compression - settings.compression) / _BITRATE_HALVED_BY)
    noise = max(_LEAST_NOISE, math.pow(settings.noise / usual.noise, _NOISE_POWER))
    return _VIDEO_BYTES * quality * noise + _TRUTH_BYTES
