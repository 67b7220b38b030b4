"""Names of directions, metrics, slices and poolings. This loads no NumPy, so that `--help` can list them at once."""

from __future__ import annotations

from encoders.options import Pooling

DIRECTIONS = ("text_to_video", "video_to_text")
"""Of retrieval: fields of `RetrievalResult`."""
FIGURE_SUFFIXES = (".png", ".svg", ".pdf")
"""Of the figure of slices: what it can be."""
METRICS = ("r1", "r5", "r10", "r50", "median_rank", "mean_rank")
"""Metrics that get a confidence interval: fields of `RetrievalMetrics`."""
POOLINGS = tuple(map(str, Pooling))
"""How frames become a video."""
FRAME_POOLINGS = ("attention", "best-shot", "best-frames")
"""Ways to score a text by the frames of a video, each with one value: see `pipeline.evaluation.frame_pooling`."""
FAMILIES = (
    "motion",
    "empty-masks",
    "full-masks",
    "camera",
    "caption",
    "static",
    "duration",
    "caption-length",
    "category",
)
"""Families of slices, in the order of `slice_queries`; `category` only if the catalogue has categories."""
