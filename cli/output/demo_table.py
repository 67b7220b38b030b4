"""The table that `fda demo` ends with."""

from __future__ import annotations

from cli.output.eval_report import METRIC_COLUMNS, metric_cells
from pipeline.demo.run import DemoResult

TITLES = {
    "masks": "with the paper's motion masks",
    "objects": "with masks of whole objects",
    "ones": "without (alpha all ones)",
    "shuffled": "control: another clip's masks",
}
"""Feature set -> its row."""


def _header() -> list[str]:
    return ["text to video, test clips", *METRIC_COLUMNS, "V2T R@1", "still R@1"]


def _rows(result: DemoResult) -> list[list[str]]:
    rows = [
        [
            title,
            *metric_cells(result.moving[name].result.metrics.text_to_video),
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
