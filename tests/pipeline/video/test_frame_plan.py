"""Which frames a clip takes of a video that has lost its end."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from pipeline.video.clips import VideoError
from pipeline.video.frame_plan import plan_clip
from pipeline.video.options import DecodeOptions, Window
from pipeline.video.reading.opening import Deadline
from pipeline.video.reading.scanned import open_scanned
from pipeline.video.reading.timeline import Timeline
from store.schema import VideoStatus
from tests.videos import write_numbered_video


def test_the_neighbour_of_a_frame_lies_before_the_loss(tmp_path: Path) -> None:
    """Frames at 0, 10, ... 40 ticks; at 30 and later, some may be missing between them."""
    timeline = Timeline(np.arange(0, 50, 10), end_pts=1000, readable_end=30, time_base=Fraction(1, 100))
    options = DecodeOptions(2, 32, neighbours=True)
    with open_scanned(write_numbered_video(tmp_path / "any.mkv", 5), options, Deadline(60)) as file:
        plan = plan_clip(timeline, file.scan, options, Window(0, 0.2))
        assert (plan.chosen.tolist(), plan.neighbours.tolist()) == ([0, 1], [1, 2])
        with pytest.raises(VideoError, match="part of the file is lost") as caught:
            plan_clip(timeline, file.scan, options, Window(0.1, 0.3))
    assert caught.value.status is VideoStatus.TRUNCATED
