"""The page that `fda demo` ends with: the report of its store, with what the demo shows as the first section."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike

from markupsafe import Markup

from pipeline.demo.result import MASKS, OBJECTS, ONES, SHUFFLED, DemoResult
from pipeline.demo.table import demo_table
from pipeline.experiments.findings import QUICK
from pipeline.pages.environment import templates_of
from pipeline.pages.figures import MARKERS, SERIES, drawing, svg_of
from pipeline.pages.pictures import data_url, filmstrip
from pipeline.reporting.options import ReportOptions
from pipeline.reporting.page import Section
from pipeline.reporting.run import ReportResult, report
from pipeline.run.events import Listener, ignore_events
from pipeline.synthetic.factors import Settings
from pipeline.training.checkpoint import TrainingHistory

QUESTION = "Does the motion mask help?"


def write_demo_page(store: str | PathLike[str], result: DemoResult, listener: Listener = ignore_events) -> ReportResult:
    """Write the page of a result; captions and ids are escaped.

    Args:
        store: Of the demo.
        result: What the demo measured.
        listener: Hears how far it is.
    """
    options = ReportOptions(
        title=f"fda demo: {QUESTION[0].lower()}{QUESTION[1:]}",
        splits=("test", "still"),
        features=(ONES, MASKS, OBJECTS, SHUFFLED),
        overwrite=True,
    )
    return report(store, result.page, options, leading=[demo_section(result, *demo_table(result))], listener=listener)


def demo_section(result: DemoResult, header: Sequence[str], rows: Sequence[Sequence[str]]) -> Section:
    """What the demo shows: its table, test clips and training."""
    html = (
        templates_of("pipeline.demo")
        .get_template("section.html")
        .render(
            notice=QUICK if result.is_quick else "",
            header=header,
            rows=rows,
            histories=result.histories,
            curves=_curves(result.histories),
            clips=[(clip, data_url(filmstrip(clip.frames, clip.masks), ".jpg")) for clip in result.clips],
            num_clips=result.num_test_clips,
            num_objects=round(Settings().distractors) + 1,
        )
    )
    return Section("demo", QUESTION, Markup(html))


def _curves(histories: Mapping[str, TrainingHistory]) -> Markup | None:
    """R@1 on the validation clips, evaluation by evaluation; None without two of them."""
    if max((len(history.evaluations) for history in histories.values()), default=0) < 2:
        return None
    with drawing(2.6) as (figure, (axes,)):
        for number, (name, history) in enumerate(histories.items()):
            steps = [one.step for one in history.evaluations]
            found = [one.validation_r1 for one in history.evaluations]
            colour, marker = SERIES[number], MARKERS[number]
            axes.plot(steps, found, color=colour, marker=marker, markersize=4.5, label=name)
        axes.set_xlabel("step")
        axes.set_ylabel("validation R@1, %")
        axes.set_ylim(bottom=0)
        axes.locator_params(axis="x", integer=True)
        axes.grid(axis="y")
        axes.legend(loc="best")
        told = "; ".join(f"{name}: at best {one.best_validation_r1:.1f}%" for name, one in histories.items())
        return svg_of(figure, "demo-curves", f"R@1 on the validation clips by step. {told}")
