"""The page that `fda demo` ends with: one self-contained HTML file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipeline.demo.run import DemoResult
from pipeline.demo.synthetic import NUM_OBJECTS
from pipeline.pages.environment import templates_of, write_page
from pipeline.pages.pictures import data_url, filmstrip


def write_demo_page(path: Path, result: DemoResult, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Write the page; captions and ids are escaped.

    Args:
        path: Of the HTML file.
        result: What the demo measured.
        header: Titles of the table's columns.
        rows: Of the table.
    """
    html = (
        templates_of("pipeline.demo")
        .get_template("demo.html")
        .render(
            header=header,
            rows=rows,
            histories=result.histories,
            clips=[(clip, data_url(filmstrip(clip.frames, clip.masks))) for clip in result.clips],
            num_clips=result.num_test_clips,
            num_objects=NUM_OBJECTS,
        )
    )
    write_page(path, html)
