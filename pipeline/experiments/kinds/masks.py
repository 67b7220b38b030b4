"""`masks`: the robustness envelope. Every kind of mask, trained on a mix of all difficulties, under each of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from pipeline.evaluation.statistics.crossed import Estimate
from pipeline.experiments.findings import Drawing, Findings, Table, percent_of, points_of, verdict
from pipeline.experiments.kind import Kind, Subject
from pipeline.experiments.masks import KINDS, ONES, PAPER, TRUTH, references
from pipeline.experiments.options import ExperimentKind, ExperimentOptions
from pipeline.experiments.plan import Condition, Plan
from pipeline.experiments.results import Results
from pipeline.pages.figures import Colours
from pipeline.run.words import plural
from pipeline.synthetic.suites import Suite

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NOT_TOLD_APART = "no difference to the best was found"
_DARK, _LIGHT, _UNKNOWN = "#0b0b0b", "#fdfdfd", "#808080"
"""Of numbers on shades, whatever the colours of a page, and of the dash of what is not known."""
_QUICK_SPLITS = 3
"""Of the difficult ones, that a quick run scores."""
_HARD = frozenset(("pan-strong", "zoom-strong", "shake-strong", "flicker-strong", "cuts-strong", "speed-slow"))
_WHY_HARD = "that defeat differences of neighbours: a moving camera, changing light, cuts, a slow mover"
_CELL_HEIGHT = 0.3
"""Inches of a row of the heat table."""


def plan(subject: Subject, options: ExperimentOptions) -> Plan:
    """A model for each kind of mask, scored on every test split that there is."""
    choices = (PAPER, *KINDS, *((TRUTH,) if subject.has_truth else ()))
    others = sorted(one for one in subject.num_videos if one.startswith(f"{options.test_split}-"))
    return Plan(
        kind=ExperimentKind.MASKS,
        store=subject.store,
        masks=choices,
        conditions=(ONES, *(Condition(one.name, one.title, one.name) for one in choices)),
        seeds=options.random_seeds,
        splits=(options.test_split, *(others[:_QUICK_SPLITS] if options.quick else others)),
        more_splits=(),
        watched=None,
        trained=subject.trained,
    )


def findings(results: Results) -> Findings:
    """R@1 and overlap by kind and difficulty, which kind is best where, and its mean gain."""
    rivals = _rivals(results)
    tables = [_together(results, "together", results.splits, "together")]
    if hard := _hard(results):
        tables.append(_together(results, "hard", hard, _WHY_HARD))
    tables += [*([_which(results)] if rivals else []), _recalls(results)]
    drawings = [_heat(results, "masks-r1", "Text-to-video R@1, %", _recall_of(results), list(results.conditions))]
    if any(results.overlap(name, results.splits[0]) is not None for name in rivals):
        tables.append(_overlaps(results))
        drawings.append(_heat(results, "masks-iou", "IoU with the truth, %", _overlap_of(results), rivals))
    return Findings(_answer(results), tuple(tables), tuple(drawings))


def _rivals(results: Results) -> list[str]:
    """The kinds of mask that anybody can have: not the truth."""
    return [name for name in results.masked if name != TRUTH.name]


def _answer(results: Results) -> str:
    rivals = _rivals(results)
    # The paper's masks, unless they were left out or are the only kind: then all ones.
    than = next((name for name in references(results) if rivals != [name]), None)
    where = plural(len(results.splits), "test split")
    if not rivals or than is None:
        return f"No answer: it needs masks, and `{PAPER.name}` or `{ONES.name}` beside them; the others were left out."
    best = max(rivals, key=lambda name: results.mean_recall(name, results.splits).value)
    named = "FDA-CLIP's masks" if than == PAPER.name else "all ones"
    if best == than:
        return f"Over {where}, no kind of mask has a higher mean R@1 than {named}."
    among = sum(name != than for name in rivals)
    # `best` was picked by these very numbers: an interval that did not know would leave out zero too often.
    gain = results.mean_gain(best, than, results.splits, among=among)
    said = verdict(gain, better="better", worse="worse")
    # Split by split, so that a mean over all does not hide harm on one.
    worse = [one for one in results.splits if results.gain(best, than, one).interval.high < 0]
    widened = f"an interval for the best of {among}" if among > 1 else "a 95% interval"
    there = f"worse on {', '.join(worse)}" if worse else "on no split is it found to be worse"
    return (
        f"Over {where}, the masks with the highest mean R@1 are `{best}`: {points_of(gain)} points over {named}, "
        f"{widened} ({said}); {there}."
    )


def _hard(results: Results) -> list[str]:
    """The splits in which what differs between neighbouring frames is, by how they are made, not what moves."""
    main = results.splits[0]
    return [split for split in results.splits if split.removeprefix(f"{main}-") in _HARD]


def _together(results: Results, name: str, splits: Sequence[str], which: str) -> Table:
    """R@1 over some splits together, and gains."""
    compared = references(results)
    rows = [
        (
            one["title"],
            percent_of(results.mean_recall(condition, splits)),
            *("-" if than == condition else points_of(results.mean_gain(condition, than, splits)) for than in compared),
        )
        for condition, one in results.conditions.items()
    ]
    return Table(
        name,
        f"T2V R@1 over {plural(len(splits), 'test split')} {which}",
        ("alpha channel", "R@1", *(f"points over {words}" for words in compared.values())),
        tuple(rows),
        ("Splits of one suite show the same scenes: the clips of one scene count as one video in the intervals.",),
    )


def _which(results: Results) -> Table:
    """Which kind to use when: the best of each split, and those of which no difference to it was found."""
    rows = []
    for split in results.splits:
        rivals = _rivals(results)
        best = max(rivals, key=lambda name: results.recall(name, split).value)
        near = [name for name in rivals if name != best and not results.gain(best, name, split).excludes_zero]
        overlaps = {name: found.value for name in rivals if (found := results.overlap(name, split)) is not None}
        covers = max(overlaps, key=lambda name: overlaps[name]) if overlaps else "-"
        rows.append((split, best, ", ".join(near) or "-", points_of(_over_paper(results, best, split)), covers))
    return Table(
        "which-to-use",
        "Which masks to use when, by T2V R@1",
        ("split", "best", NOT_TOLD_APART, "points over the paper's", "best IoU"),
        tuple(rows),
        ("The best of several is partly luck: what its interval excludes counts, not its name.",),
    )


def _over_paper(results: Results, name: str, split: str) -> Estimate | None:
    is_known = name != PAPER.name and PAPER.name in results.conditions
    return results.gain(name, PAPER.name, split) if is_known else None


def _recalls(results: Results) -> Table:
    rows = [
        (split, *(percent_of(results.recall(name, split)) for name in results.conditions)) for split in results.splits
    ]
    return Table("recalls", "T2V R@1 by split", ("split", *results.conditions), tuple(rows))


def _overlaps(results: Results) -> Table:
    names = _rivals(results)
    rows = [(split, *(percent_of(results.overlap(name, split)) for name in names)) for split in results.splits]
    return Table("overlaps", "IoU with the truth by split", ("split", *names), tuple(rows))


def _recall_of(results: Results) -> Callable[[str, str], Estimate | None]:
    return lambda name, split: results.recall(name, split)


def _overlap_of(results: Results) -> Callable[[str, str], Estimate | None]:
    return lambda name, split: results.overlap(name, split)


def _heat(
    results: Results, name: str, unit: str, value_of: Callable[[str, str], Estimate | None], columns: Sequence[str]
) -> Drawing:
    """A row a split, a column a kind of mask; the number is in the cell, for those who do not see shades."""
    found: Mapping[str, list[float]] = {  # NaN: not known, which is not 0
        split: [math.nan if (one := value_of(column, split)) is None else 100 * one.value for column in columns]
        for split in results.splits
    }

    def draw(panels: Sequence[Axes], colours: Colours) -> None:
        (axes,) = panels
        # NaN is above nothing, and so never the highest; 1 keeps the scale from being empty.
        highest = max((value for row in found.values() for value in row if value > 0), default=1.0)
        values = list(found.values())
        image = axes.pcolormesh(values, cmap=colours.ramp, vmin=0, vmax=highest)
        for row, some in enumerate(values):
            for column, value in enumerate(some):
                ink = _UNKNOWN if math.isnan(value) else _DARK if value > highest / 2 else _LIGHT
                place = column + 0.5, row + 0.5
                axes.text(*place, _number(value), ha="center", va="center", fontsize=8, color=ink)
        axes.set_yticks([row + 0.5 for row in range(len(values))], list(found), parse_math=False, fontsize=8)
        axes.set_xticks([column + 0.5 for column in range(len(columns))], columns, rotation=35, ha="right", fontsize=9)
        axes.invert_yaxis()
        axes.grid(visible=False)
        axes.tick_params(length=0)
        axes.figure.colorbar(image, ax=axes, label=unit)

    told = "; ".join(f"{split}: {', '.join(map(_number, some))}" for split, some in found.items())
    alt = f"{unit}, by split and by {', '.join(columns)}. {told}"
    return Drawing(name, alt, 1.3 + _CELL_HEIGHT * len(found), 1, draw, width=6.0)


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.0f}"


MASKS = Kind(
    name=ExperimentKind.MASKS,
    question="Which masks hold under which difficulty?",
    suite=Suite.FACTORS,
    quick_clips=(8, 2),  # it has some twenty test splits
    plan=plan,
    findings=findings,
)
