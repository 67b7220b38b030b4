"""Figures that several experiments have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pipeline.evaluation.statistics.crossed import Estimate
from pipeline.experiments.findings import Drawing, percent_of
from pipeline.pages.figures import MARKERS, Colours

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def shares_by_row(
    name: str, what: str, rows: Mapping[str, Sequence[Estimate]], series: Sequence[str], unit: str
) -> Drawing:
    """Shares with their intervals: a row for each name, and in it a marker for each of up to four series.

    Args:
        name: Of the figure's files.
        what: It shows, for those who do not see it; the first series is added in numbers.
        rows: Label -> a share, 0..1, for each of the series.
        series: Their names.
        unit: Of the axis.
    """

    def draw(panels: Sequence[Axes], colours: Colours) -> None:
        (axes,) = panels
        # All markers of a row together take 0.6 of it, and lie around its middle.
        step = 0.6 / len(series)
        for number, label in enumerate(series):
            places = [row + step * (number - (len(series) - 1) / 2) for row in range(len(rows))]
            found = [some[number] for some in rows.values()]
            axes.errorbar(
                [100 * one.value for one in found],
                places,
                xerr=ends_of(found),
                linestyle="none",
                color=colours.series[number],
                marker=MARKERS[number],
                markersize=5,
                label=label,
            )
        axes.set_yticks(range(len(rows)), list(rows), parse_math=False)
        axes.invert_yaxis()
        axes.set_xlabel(unit)
        if len(series) > 1:
            axes.figure.legend(loc="outside upper center", ncols=len(series))

    told = "; ".join(f"{label}: {percent_of(some[0])}" for label, some in rows.items())
    height = 1.1 + (0.2 + 0.12 * len(series)) * len(rows)
    return Drawing(name, f"{what}. {told}", height, 1, draw)


def ends_of(found: Sequence[Estimate]) -> list[list[float]]:
    """How far intervals reach below and above their values, in percent: as matplotlib takes them."""
    return [
        [100 * (one.value - one.interval.low) for one in found],
        [100 * (one.interval.high - one.value) for one in found],
    ]
