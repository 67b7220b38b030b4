"""What an experiment says, as values: a sentence, tables and figures. `writing.py` writes it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.evaluation.statistics.crossed import Estimate
from pipeline.pages.figures import WIDTH, Colours
from store.json_values import JSON

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NO_DIFFERENCE = "no difference was found"
QUICK = "QUICK RUN: shows that everything runs, and nothing else"


@dataclass(frozen=True, slots=True)
class Table:
    """A table of texts."""

    name: str
    """Letters and dashes."""
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, JSON]:
        """The fields as JSON."""
        return {
            "title": self.title,
            "columns": list(self.columns),
            "rows": [list(row) for row in self.rows],
            "notes": list(self.notes),
        }


@dataclass(frozen=True, slots=True)
class Drawing:
    """A figure, drawn when it is wanted: in a page's colours, or in those of paper."""

    name: str
    """Of its files; letters and dashes."""
    alt: str
    """What it shows, for those who do not see it."""
    height: float
    """Inches."""
    num_panels: int
    """Below each other."""
    draw: Callable[[Sequence[Axes], Colours], None]
    width: float = WIDTH
    """Inches."""


@dataclass(frozen=True, slots=True)
class Findings:
    """What the numbers say."""

    answer: str
    """One or a few sentences, with the intervals that carry them."""
    tables: tuple[Table, ...]
    drawings: tuple[Drawing, ...] = ()


def percent_of(estimate: Estimate | None) -> str:
    """A share with its interval, in percent.

    >>> from pipeline.evaluation.statistics.intervals import Interval
    >>> percent_of(Estimate(0.458, Interval(0.312, 0.605, 0.95), ()))
    '45.8 [31.2, 60.5]'
    """
    return _with_interval(estimate, ".1f")


def points_of(estimate: Estimate | None) -> str:
    """A difference of shares with its interval, in percentage points.

    >>> from pipeline.evaluation.statistics.intervals import Interval
    >>> points_of(Estimate(0.025, Interval(-0.04, 0.09, 0.95), ()))
    '+2.5 [-4.0, +9.0]'
    """
    return _with_interval(estimate, "+.1f")


def _with_interval(estimate: Estimate | None, form: str) -> str:
    if estimate is None:
        return "-"
    low, high = estimate.interval.low, estimate.interval.high
    return f"{100 * estimate.value:{form}} [{100 * low:{form}}, {100 * high:{form}}]"


def verdict(estimate: Estimate, *, better: str = "better", worse: str = "worse") -> str:
    """What an interval says of a difference: one of two words, or that no difference was found."""
    if not estimate.excludes_zero:
        return NO_DIFFERENCE
    return better if estimate.value > 0 else worse
