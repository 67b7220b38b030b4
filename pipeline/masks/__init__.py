"""Motion masks: where neighbouring frames of a clip differ (FDA-CLIP, arXiv 2510.21806)."""

from pipeline.masks.clips import ClipMasks, MaskSummary, clip_masks, difference_masks
from pipeline.masks.options import (
    Compensation,
    Difference,
    MaskOptions,
    ThresholdMode,
    WhenEmpty,
    WhenFull,
)

__all__ = [
    "ClipMasks",
    "Compensation",
    "Difference",
    "MaskOptions",
    "MaskSummary",
    "ThresholdMode",
    "WhenEmpty",
    "WhenFull",
    "clip_masks",
    "difference_masks",
]
