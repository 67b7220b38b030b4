"""Experiments on the store: their questions, answers, tables and figures, as `fda experiment` wrote them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from pipeline.errors import InputError, PipelineError
from pipeline.experiments.findings import QUICK, Drawing, Findings, Table
from pipeline.experiments.folder import ASKED_FILE, RESULTS_FILE
from pipeline.experiments.options import ExperimentKind
from pipeline.experiments.results import Results
from pipeline.pages.figures import PAGE, drawing, svg_of
from pipeline.reporting.page import Section
from pipeline.reporting.subject import Subject

MOST_EXPERIMENTS = 12


@dataclass(frozen=True, slots=True)
class ExperimentShown:
    """One experiment."""

    name: str
    """Of its folder."""
    question: str
    answer: str
    warning: str
    """What a reader must know before the numbers; may be empty."""
    tables: tuple[Table, ...]
    figures: tuple[Markup, ...]
    seeds: tuple[int, ...]
    about: str
    """The data set and the preset."""


@dataclass(frozen=True, slots=True)
class Experiments:
    """All that were found."""

    experiments: tuple[ExperimentShown, ...]
    num_more: int


def experiments_section(subject: Subject) -> Section | None:
    """The section; None where no experiment was found."""
    folders = experiment_folders(subject.store.place, subject.options.experiments)
    shown = []
    for number, folder in enumerate(folders[:MOST_EXPERIMENTS]):
        try:
            shown.append(_shown(number, folder))
        except PipelineError as error:
            subject.report.warn(f"an experiment is missing: {error}")
    if not shown:
        return None
    return Section.of("experiments", "Experiments", Experiments(tuple(shown), max(0, len(folders) - MOST_EXPERIMENTS)))


def experiment_folders(store: str, named: Path | None) -> list[Path]:
    """Folders of experiments that are done: those beside the store, or under the folder that was named.

    Raises:
        InputError: One was named, and there is none in it.
    """
    if named is None and "://" in store:
        return []
    top = Path(store).absolute().parent if named is None else named
    found = [one.parent for one in (top / RESULTS_FILE, *sorted(top.glob(f"*/{RESULTS_FILE}"))) if one.is_file()]
    if named is not None and not found:
        begun = sorted(one.parent for one in (*top.glob(ASKED_FILE), *top.glob(f"*/{ASKED_FILE}")))
        why = f"{begun[0]} has not ended" if begun else f"neither it nor a folder in it has a file {RESULTS_FILE}"
        raise InputError(f"no experiment in {named}: {why}")
    return found


def _shown(number: int, folder: Path) -> ExperimentShown:
    from pipeline.experiments.kinds.table import KINDS  # torch, which a page without experiments does without

    results = Results.read(folder / RESULTS_FILE)
    kind = KINDS[ExperimentKind(results.kind)]
    found: Findings = kind.findings(results)
    about = results.about
    return ExperimentShown(
        name=folder.name,
        question=kind.question,
        answer=found.answer,
        warning=QUICK if results.is_quick else "",
        tables=found.tables,
        figures=tuple(_figure(f"experiment-{number}", one) for one in found.drawings),
        seeds=results.seeds,
        about=f"{about['data']}; preset {about['plan']['preset']}{_left_out(about['plan']['left_out'])}",
    )


def _left_out(conditions: Sequence[str]) -> str:
    return f"; left out: {', '.join(conditions)}" if conditions else ""


def _figure(prefix: str, one: Drawing) -> Markup:
    with drawing(one.height, one.num_panels, width=one.width) as (figure, panels):
        one.draw(panels, PAGE)
        return svg_of(figure, f"{prefix}-{one.name}", one.alt)
