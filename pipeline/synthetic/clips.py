"""One planned clip -> its video, its truth, and its line of the manifest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from encoders.replacing import replacing
from pipeline.synthetic.backgrounds import read_background
from pipeline.synthetic.encoding import VideoWriter
from pipeline.synthetic.objects import words
from pipeline.synthetic.options import GenerateOptions
from pipeline.synthetic.planning import ClipPlan
from pipeline.synthetic.rendering import num_frames_of, render
from pipeline.synthetic.suites import Suite
from pipeline.synthetic.truth import TruthWriter
from store.json_values import JSON

VIDEOS, TRUTH = "videos", "truth"
"""Folders beside the manifest."""


def write_clip(
    folder: Path, options: GenerateOptions, plan: ClipPlan, background_files: Sequence[str] = ()
) -> dict[str, JSON]:
    """Render and encode a clip, each file whole or not at all; its line of the manifest."""
    amount = options.amount
    behind, grounds = read_background(options, background_files, plan) if background_files else (None, None)
    video, truth = f"{VIDEOS}/{plan.video_id}.mp4", f"{TRUTH}/{plan.video_id}.npz"
    shape = (num_frames_of(plan.settings, amount), amount.height, amount.width)
    seen = 0
    with replacing(folder / video) as video_file, replacing(folder / truth) as truth_file:
        crf = round(plan.settings.compression)
        # Frame by frame into both: a clip of ten minutes does not fit into memory.
        with VideoWriter(video_file, amount, options.codec, crf) as frames, TruthWriter(truth_file, shape) as masks:
            for frame in render(plan, amount, grounds):
                frames.add(frame.rgb)
                masks.add(frame.mask, frame.view)
                seen += int(frame.mask.sum())
    line = {**_line(plan, options, video), "truth": truth, "truth_coverage": round(seen / float(np.prod(shape)), 6)}
    return line if behind is None else {**line, "background": behind}


def _line(plan: ClipPlan, options: GenerateOptions, video: str) -> dict[str, JSON]:
    story, rate = plan.story, options.amount.fps
    line: dict[str, JSON] = {
        "video_id": plan.video_id,
        "path": video,
        "captions": [story.caption],
        "split": plan.split,
        "objects": [words(kind) for kind in story.kinds],
        "mover": words(story.kinds[story.movers[0]]),
    }
    if options.suite is Suite.LONG:
        line["category"] = f"{len(story.events)} events"
    settings: dict[str, JSON] = {name: float(value) for name, value in asdict(plan.settings).items()}
    events: list[JSON] = [
        {
            "object": words(story.kinds[event.index]),
            "start_seconds": event.start_seconds,
            "end_seconds": event.end_seconds,
        }
        for event in story.events
    ]
    return {**line, "events": events, "factors": settings, "fps": rate}
