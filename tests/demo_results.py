"""A result of the demo made by hand, for tests of its page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from pipeline.demo.result import DemoClip, DemoResult
from pipeline.training.checkpoint import TrainingHistory


def demo_result(texts: Sequence[str], histories: Mapping[str, TrainingHistory] | None = None) -> DemoResult:
    """A clip for each text, which is its id and its caption."""
    frames, masks = np.zeros((3, 8, 8, 3), np.uint8), np.ones((3, 8, 8), np.bool_)
    return DemoResult(
        is_quick=False,
        moving={},
        still={},
        histories=histories or {},
        chance_r1=4.2,
        bound_r1=31.8,
        num_test_clips=24,
        clips=tuple(DemoClip(text, text, frames, masks, 1, 7) for text in texts),
        page=Path("demo.html"),
        seconds=1.0,
        warnings=(),
    )
