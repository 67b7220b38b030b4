"""All feature sets of a split against the first of them: differences, intervals, p-values, queries that moved."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from pipeline.evaluation.comparing.compare import AgainstFirst, Comparison, UnlikeSetting
from pipeline.evaluation.names import DIRECTIONS
from pipeline.pages.figures import DIM, MARKERS, SERIES, drawing, svg_of
from pipeline.reporting.page import Section, first_of
from pipeline.reporting.scoring import ScoredSplit
from pipeline.reporting.sections.retrieval import COLUMNS, TITLES, shortened
from pipeline.reporting.subject import Subject

MOST_SETTINGS = 24


@dataclass(frozen=True, slots=True)
class SplitCompared:
    """The sets of one split."""

    split: str
    found: Comparison | None
    why_not: str
    """Why they could not be compared."""
    figure: Markup | None
    """Differences of R@1."""
    unlike: tuple[UnlikeSetting, ...] = ()
    """What the sets were not made with alike; of models their name, and not each number of their architecture."""
    num_more_unlike: int = 0


@dataclass(frozen=True, slots=True)
class Compared:
    """All splits with several sets."""

    splits: tuple[SplitCompared, ...]
    columns: tuple[tuple[str, str], ...] = COLUMNS
    directions: tuple[tuple[str, str], ...] = tuple(TITLES.items())


def comparison_section(subject: Subject) -> Section | None:
    """The section; None where no split has two sets."""
    several = [scored for scored in subject.scores.splits if len(scored.sets) > 1]
    if not several:
        return None
    values = Compared(tuple(_compared(number, scored) for number, scored in enumerate(several)))
    return Section.of("comparison", "Feature sets compared", values)


def _compared(number: int, scored: ScoredSplit) -> SplitCompared:
    found = scored.comparison
    if found is None:
        return SplitCompared(scored.split, None, scored.why_not_compared, None)
    shown, num_more = first_of([one for one in found.unlike if _tells(one, found)], MOST_SETTINGS)
    return SplitCompared(scored.split, found, "", _figure(number, found), shown, num_more)


def _tells(one: UnlikeSetting, found: Comparison) -> bool:
    """Whether a setting tells more than that a set was imported, or has another model."""
    if one.key.startswith("model.architecture"):
        return False
    made_here = [value for value, its in zip(one.values, found.sets, strict=True) if "imported" not in its.attributes]
    return one.key.startswith("imported") or any(value != made_here[0] for value in made_here)


def _figure(number: int, found: Comparison) -> Markup:
    """The difference of R@1 of each set to the first, with its interval, in both directions."""
    others = found.against_first
    with drawing(1.15 + 0.5 * len(others)) as (figure, (axes,)):
        axes.axvline(0, color=DIM, linewidth=1)
        for side, direction in enumerate(DIRECTIONS):
            for row, other in enumerate(others):
                difference = other.directions[direction].differences["r1"]
                place = row + 0.26 * (side - 0.5)  # both directions of a set beside each other
                axes.hlines(place, difference.interval.low, difference.interval.high, color=SERIES[side], linewidth=1.6)
                axes.plot([difference.value], [place], MARKERS[side], color=SERIES[side], markersize=5.5)
        axes.set_yticks(range(len(others)), [shortened(one.name) for one in others], parse_math=False)
        axes.set_ylim(len(others) - 0.5, -0.5)
        axes.set_xlabel("R@1 minus that of the first set, points")
        handles = [
            axes.plot([], [], MARKERS[side], color=SERIES[side], label=TITLES[direction])[0]
            for side, direction in enumerate(DIRECTIONS)
        ]
        figure.legend(handles=handles, loc="outside upper left", ncols=2, handletextpad=0.1, columnspacing=1.0)
        told = "; ".join(_told(one) for one in others)
        alt = f"Difference of R@1 to {found.sets[0].name} on split {found.split}, with intervals. {told}"
        return svg_of(figure, f"comparison-{number}", alt)


def _told(other: AgainstFirst) -> str:
    both = (
        f"{TITLES[direction]} {other.directions[direction].differences['r1'].value:+.1f} points"
        for direction in DIRECTIONS
    )
    return f"{other.name}: {', '.join(both)}"
