"""The table that `fda demo` ends with."""

from __future__ import annotations

from pipeline.demo.result import DemoResult
from pipeline.evaluation.metrics import RetrievalMetrics

METRIC_COLUMNS = ("R@1", "R@5", "R@10", "MdR", "MnR")
_METRICS = ("r1", "r5", "r10", "median_rank", "mean_rank")
"""Their fields."""

TITLES = {
    "masks": "with the paper's motion masks",
    "objects": "with masks of whole objects",
    "ones": "without (alpha all ones)",
    "shuffled": "control: another clip's masks",
}
"""Feature set -> its row."""


def _cells(metrics: RetrievalMetrics) -> list[str]:
    return [f"{getattr(metrics, name):.1f}" for name in _METRICS]


def _header() -> list[str]:
    return ["text to video, test clips", *METRIC_COLUMNS, "V2T R@1", "still R@1"]


def _rows(result: DemoResult) -> list[list[str]]:
    rows = [
        [
            title,
            *_cells(result.moving[name].result.metrics.text_to_video),
            f"{result.moving[name].result.metrics.video_to_text.r1:.1f}",
            f"{result.still[name].result.metrics.text_to_video.r1:.1f}",
        ]
        for name, title in TITLES.items()
    ]
    blanks = [""] * (len(METRIC_COLUMNS) + 1)
    rows.append(["ideal guess from single frames", f"{result.bound_r1:.1f}", *blanks])
    rows.append(["chance", f"{result.chance_r1:.1f}", *blanks])
    return rows


def demo_table(result: DemoResult) -> tuple[list[str], list[list[str]]]:
    """Titles of the columns, and the rows."""
    return _header(), _rows(result)
