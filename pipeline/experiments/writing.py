"""The files that an experiment ends with, all written from its results alone: the same results give the same bytes."""

from __future__ import annotations

import csv
import io
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from pipeline.evaluation.names import DIRECTIONS
from pipeline.experiments.findings import QUICK, Findings, Table
from pipeline.experiments.folder import RESULTS_FILE, write_text
from pipeline.experiments.kind import Kind
from pipeline.experiments.results import Results
from pipeline.pages.figures import PAPER, drawing, write_figure
from pipeline.run.words import plural

REPORT_FILE, CSV_FILE, COMMANDS_FILE = "report.md", "results.csv", "commands.sh"
_CSV_COLUMNS = (
    *("condition", "seed", "scored", "direction", "num_queries"),
    *("r1", "r5", "r10", "median_rank", "mean_rank"),
)


def write_files(folder: Path, kind: Kind, results: Results, found: Findings) -> tuple[Path, ...]:
    """Write report, tables, figures and command lines."""
    paths = [folder / REPORT_FILE, folder / CSV_FILE, folder / COMMANDS_FILE]
    for one in found.drawings:
        with drawing(one.height, one.num_panels, colours=PAPER, width=one.width) as (figure, panels):
            one.draw(panels, PAPER)
            write_figure(figure, folder / one.name)
        paths += [folder / f"{one.name}.svg", folder / f"{one.name}.png"]
    write_text(folder / CSV_FILE, _csv(results))
    write_text(folder / COMMANDS_FILE, _commands(kind, results))
    # The report last, as it names the other files.
    write_text(folder / REPORT_FILE, "\n".join(_report(kind, results, found)) + "\n")
    return tuple(paths)


def _report(kind: Kind, results: Results, found: Findings) -> Iterator[str]:
    about = results.about
    yield from (f"# {kind.question}", "")
    if results.is_quick:
        yield from (f"**{QUICK}**", "")
    yield from (found.answer, "")
    for one in found.drawings:
        yield from (f"![{_escaped(one.alt)}]({one.name}.svg)", "")
    for table in found.tables:
        yield from _table(table, results)
    yield from ("## How to read it", "")
    yield (
        "A number is the mean over seeds; in brackets is its 95% interval over videos and seeds. Differences are "
        "paired: the same seeds, the same queries. Three seeds that disagree make an interval wide, as they should."
    )
    yield from ("", "## What was run", "")
    plan = about["plan"]
    yield f"- `{shlex.join(about['asked_by'])}`"
    yield f"- {plural(len(results.seeds), 'seed')}: {', '.join(map(str, results.seeds))}"
    if plan["left_out"]:
        yield f"- left out: {', '.join(f'`{name}`' for name in plan['left_out'])}"
    changed = "".join(f", {key} = {value}" for key, value in plan["settings"].items())
    yield f"- preset `{plan['preset']}`{changed}; the checkpoint is chosen on validation videos"
    sizes = ", ".join(f"{split} {number:,}" for split, number in about["num_videos"].items())
    yield f"- videos: {sizes}; {about['data']}"
    yield f"- software: {', '.join(f'{name} {version}' for name, version in about['software'].items())}"
    yield f"- every number is in `{RESULTS_FILE}`; `{CSV_FILE}` has a row for each condition, seed and direction"
    yield from ("", "## By hand", "", f"`{COMMANDS_FILE}` has the command lines that make each cell.")


def _table(table: Table, results: Results) -> Iterator[str]:
    yield from (f"## {table.title}", "")
    if results.is_quick:
        yield from (f"*{QUICK}*", "")
    for row in (table.columns, ["---", *["---:"] * (len(table.columns) - 1)], *table.rows):
        yield "| " + " | ".join(map(_escaped, row)) + " |"
    yield ""
    for note in table.notes:
        yield from (note, "")


def _escaped(text: str) -> str:
    """A text that does not end a cell."""
    return " ".join(text.replace("|", r"\|").split())


def _csv(results: Results) -> str:
    content = io.StringIO()
    writer = csv.writer(content, lineterminator="\n")
    writer.writerow(_CSV_COLUMNS)
    for cell in results.cells:
        for scored, both in cell.ranks.items():
            for direction in DIRECTIONS:
                ranks = both[direction]
                shares = [round(100 * float((ranks <= k).mean()), 4) for k in (1, 5, 10)]
                means = [float(np.median(ranks)), round(float(ranks.mean()), 4)]
                writer.writerow([cell.condition, cell.seed, scored, direction, len(ranks), *shares, *means])
    return content.getvalue()


def _commands(kind: Kind, results: Results) -> str:
    lines: Sequence[Sequence[str]] = results.about["commands"]
    asked = shlex.join(results.about["asked_by"])
    head = ["#!/bin/sh", "set -e", f"# {kind.question}", f"# All of it: {asked}", "# Any cell by hand:"]
    return "\n".join([*head, *(shlex.join(words) for words in lines)]) + "\n"
