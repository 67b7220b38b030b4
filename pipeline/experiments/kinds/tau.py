"""`tau`: how much the threshold of the masks matters, as Figure 2 of FDA-CLIP asks, with and without re-training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipeline.evaluation.names import DIRECTIONS
from pipeline.evaluation.statistics.crossed import Estimate
from pipeline.experiments.drawings import ends_of
from pipeline.experiments.findings import NO_DIFFERENCE, Drawing, Findings, Table, percent_of, points_of
from pipeline.experiments.kind import Kind, Subject
from pipeline.experiments.masks import PAPER
from pipeline.experiments.options import ExperimentKind, ExperimentOptions
from pipeline.experiments.plan import Condition, MaskChoice, Plan
from pipeline.experiments.results import Results
from pipeline.masks.options import MaskOptions
from pipeline.pages.figures import MARKERS, Colours
from pipeline.run.words import listed
from pipeline.synthetic.suites import Suite

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PAPERS = MaskOptions().tau
"""The threshold of the paper: other ones are compared with it, and its model reads the masks of the others."""
_TRAINED, _REUSED = "tau-", "reads-"


def plan(subject: Subject, options: ExperimentOptions) -> Plan:
    """A model for each threshold; and the model of the paper's threshold with the masks of every other."""
    # The paper's is always among them: all others are compared with it.
    thresholds = sorted({*options.thresholds, PAPERS})
    masks = tuple(_masks(one) for one in thresholds)
    trained = [
        Condition(f"{_TRAINED}{one:g}", f"tau {one:g}", its.name) for one, its in zip(thresholds, masks, strict=True)
    ]
    reused = [
        Condition(
            f"{_REUSED}{one:g}", f"tau {one:g}, model of {PAPERS:g}", its.name, trained_as=f"{_TRAINED}{PAPERS:g}"
        )
        for one, its in zip(thresholds, masks, strict=True)
        if one != PAPERS
    ]
    return Plan(
        kind=ExperimentKind.TAU,
        store=subject.store,
        masks=masks,
        conditions=(*trained, *reused),
        seeds=options.random_seeds,
        splits=(options.test_split,),
        more_splits=(),
        watched=None,
        trained=subject.trained,
    )


def _masks(threshold: float) -> MaskChoice:
    if threshold == PAPERS:
        # By its usual name, so that the mask set of another experiment on this store is used again.
        return PAPER
    return MaskChoice(f"{_TRAINED}{threshold:g}", f"masks of tau {threshold:g}", MaskOptions(threshold=threshold))


def findings(results: Results) -> Findings:
    """R@1 by threshold, both ways, with what the masks cover beside it."""
    split, thresholds = results.splits[0], _thresholds(results)
    return Findings(
        answer=_answer(results, split, thresholds),
        tables=(_table(results, split, thresholds),),
        drawings=(_drawing(results, split, thresholds),),
    )


def _thresholds(results: Results) -> list[float]:
    return [float(name.removeprefix(_TRAINED)) for name in results.conditions if name.startswith(_TRAINED)]


def _reading(threshold: float) -> str:
    """The condition in which the model of the paper's threshold reads masks of another."""
    return f"{_TRAINED if threshold == PAPERS else _REUSED}{threshold:g}"


def _answer(results: Results, split: str, thresholds: Sequence[float]) -> str:
    papers = f"{_TRAINED}{PAPERS:g}"
    told = []
    for words, prefix in (("trained for each", _TRAINED), ("with one model of tau 25", _REUSED)):
        gains = {one: results.gain(f"{prefix}{one:g}", papers, split) for one in thresholds if one != PAPERS}
        differ = [f"{one:g} ({points_of(gain)} points)" for one, gain in gains.items() if gain.excludes_zero]
        told.append(f"{words}, {f'{listed(differ)} differ from it' if differ else NO_DIFFERENCE}")
    return f"Text-to-video R@1 at tau {PAPERS:g} is {percent_of(results.recall(papers, split))}; {'; '.join(told)}."


def _table(results: Results, split: str, thresholds: Sequence[float]) -> Table:
    papers = f"{_TRAINED}{PAPERS:g}"
    rows = []
    for one in thresholds:
        trained, reading = f"{_TRAINED}{one:g}", _reading(one)
        masks = results.conditions[trained]["masks"]
        rows.append(
            (
                f"{one:g}",
                *(percent_of(results.recall(trained, split, direction)) for direction in DIRECTIONS),
                "-" if one == PAPERS else points_of(results.gain(trained, papers, split)),
                *(percent_of(results.recall(reading, split, direction)) for direction in DIRECTIONS),
                "-" if one == PAPERS else points_of(results.gain(reading, papers, split)),
                percent_of(results.coverage(masks, split)),
                percent_of(results.overlap(masks, split)),
            )
        )
    return Table(
        "thresholds",
        f"R@1 by threshold, split {split}",
        (
            *("tau", "trained: T2V", "V2T", f"T2V over tau {PAPERS:g}"),
            *(f"model of {PAPERS:g}: T2V", "its V2T", f"its T2V over tau {PAPERS:g}", "coverage", "IoU with the truth"),
        ),
        tuple(rows),
    )


def _drawing(results: Results, split: str, thresholds: Sequence[float]) -> Drawing:
    lines = {
        "text to video": [results.recall(f"{_TRAINED}{one:g}", split) for one in thresholds],
        "video to text": [results.recall(f"{_TRAINED}{one:g}", split, DIRECTIONS[1]) for one in thresholds],
        f"text to video, model of {PAPERS:g}": [results.recall(_reading(one), split) for one in thresholds],
    }
    names = [results.conditions[f"{_TRAINED}{one:g}"]["masks"] for one in thresholds]
    below = {
        "coverage": [results.coverage(one, split) for one in names],
        "IoU with the truth": [results.overlap(one, split) for one in names],
    }
    # A line with gaps would say that nothing is covered there.
    known = {label: [one for one in some if one is not None] for label, some in below.items() if None not in some}

    def draw(panels: Sequence[Axes], colours: Colours) -> None:
        for axes, some, unit in zip(panels, (lines, known), ("R@1, %", "% of pixels"), strict=True):
            beside = 0.008 * (thresholds[-1] - thresholds[0])  # or intervals would hide each other
            for number, (label, found) in enumerate(some.items()):
                places = [one + beside * (number - 1) for one in thresholds]
                _line(axes, (places, found, label), colours.series[number], MARKERS[number])
            axes.set_ylabel(unit)
            axes.set_ylim(bottom=0)
            axes.grid(axis="both")
            axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2, fontsize=9)
        panels[-1].set_xlabel("tau, grey levels")

    told = "; ".join(
        f"{one:g}: {percent_of(found)}" for one, found in zip(thresholds, lines["text to video"], strict=True)
    )
    return Drawing("tau", f"R@1, and what the masks cover, by threshold. Text to video: {told}", 5.6, 2, draw)


def _line(axes: Axes, what: tuple[Sequence[float], Sequence[Estimate], str], colour: str, marker: str) -> None:
    places, found, label = what
    values = [100 * one.value for one in found]
    axes.errorbar(places, values, yerr=ends_of(found), color=colour, marker=marker, markersize=4.5, label=label)


TAU = Kind(
    name=ExperimentKind.TAU,
    question="How much does the threshold of the masks matter?",
    suite=Suite.DEMO,
    quick_clips=(16, 4),
    why_whole="its thresholds make them",
    plan=plan,
    findings=findings,
)
