"""A figure of retrieval by slices of the queries: one panel a family, with R@1 of each slice."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

from encoders.replacing import replacing
from pipeline.errors import OptionError, PipelineError
from pipeline.evaluation.metrics import RetrievalMetrics
from pipeline.evaluation.names import FIGURE_SUFFIXES
from pipeline.evaluation.slices.scoring import FEW_MARK, FEW_VIDEOS, FamilyScores, SliceScore, SliceScores
from pipeline.run.words import cut

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLUMNS = 3
_PANEL_WIDTH, _ROW_HEIGHT, _PANEL_MARGIN = 5.6, 0.46, 1.0
"""Inches."""
_BAR = 0.38
"""Of the distance between two slices."""
_ROOM = 1.04
"""How much wider a panel is than the longest bar of the figure."""
_LONGEST_LABEL, _TITLE_WIDTH = 30, 46
"""Letters."""
_NUMBERS_AT, _PALE = 1.02, "#666666"
"""Where numbers begin, of the width of a panel; and their colour where they mean little."""
_DIRECTIONS = (
    ("text_to_video", "text to video", "#0072B2", "captions"),
    ("video_to_text", "video to text", "#E69F00", "videos"),
)
"""Name, label and colour (Okabe and Ito's, which colour-blind people can tell apart), and what a query is."""


class NothingToDrawError(PipelineError, ValueError):
    """A figure would show nothing."""


def draw_slices(scores: SliceScores, path: Path, title: str) -> None:
    """Draw R@1 of every slice, with its interval and the number of its queries, and of all queries as a dashed line.

    Args:
        scores: What to draw.
        path: Of the file; its suffix says of which kind.
        title: Of the figure.

    Raises:
        OptionError: The suffix is none of `FIGURE_SUFFIXES`.
        NothingToDrawError: No family divides the queries.
    """
    if path.suffix.lower() not in FIGURE_SUFFIXES:
        raise OptionError(f"{path.name!r} must end in {' or '.join(FIGURE_SUFFIXES)}: that is what is written")
    figure = slices_figure(scores, title)
    with replacing(path) as temporary:
        figure.savefig(temporary)


def slices_figure(scores: SliceScores, title: str) -> Figure:
    """The figure of `draw_slices`, one panel a family; without those that have all queries in one slice.

    Raises:
        NothingToDrawError: All families have.
    """
    from matplotlib.figure import Figure  # half a second, for those who want a figure
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    if not scores.telling:
        raise NothingToDrawError("all queries are in one slice of each family")
    columns = _columns(scores.telling)
    height = max(sum(map(_height, column)) for column in columns)
    figure = Figure(figsize=(_PANEL_WIDTH * len(columns), height + 1.1), dpi=120, layout="constrained")
    places = figure.add_gridspec(1, len(columns))
    for number, column in enumerate(columns):
        heights = [_height(family) for family in column]
        below = max(height - sum(heights), 0.01)  # a last row that stays blank
        grid = places[0, number].subgridspec(len(column) + 1, 1, height_ratios=[*heights, below])
        for row, family in enumerate(column):
            _panel(figure.add_subplot(grid[row, 0]), family, scores.all_queries, _longest(scores))
    legend: list[Artist] = [
        Patch(color=colour, label=f"{label} (n {queries})") for _, label, colour, queries in _DIRECTIONS
    ]
    legend.append(
        Patch(
            facecolor="#bbbbbb",
            hatch="////",
            edgecolor="white",
            label=f"{FEW_MARK} queries of fewer than {FEW_VIDEOS} videos",
        )
    )
    legend.append(Line2D([], [], color="#555555", linestyle="--", label="all queries"))
    legend.append(Line2D([], [], color="#333333", linewidth=0.8, label="confidence interval"))
    figure.suptitle(title, x=0.01, ha="left", fontsize=13, fontweight="bold", parse_math=False)
    figure.legend(handles=legend, loc="outside lower center", ncols=min(len(legend), 2 * len(columns)), frameon=False)
    return figure


def _height(family: FamilyScores) -> float:
    """Of a panel, in inches."""
    return _PANEL_MARGIN + _ROW_HEIGHT * len(family.slices)


def _columns(families: Sequence[FamilyScores]) -> list[list[FamilyScores]]:
    """Families dealt out to columns: each goes below the others in the column that is shortest so far."""
    columns: list[list[FamilyScores]] = [[] for _ in range(min(_COLUMNS, len(families)))]
    for family in families:
        min(columns, key=lambda column: sum(map(_height, column))).append(family)
    return columns


def _longest(scores: SliceScores) -> float:
    """The end of the longest bar or interval of R@1, percent; 1 where all are shorter."""
    slices = [scores.all_queries, *(one for family in scores.families for one in family.slices)]
    ends = [interval["r1"].high for one in slices for interval in one.intervals.values()]
    bars = [metrics.r1 for one in slices for metrics in (one.text_to_video, one.video_to_text) if metrics is not None]
    return max(1.0, *ends, *bars)


def _panel(axes: Axes, family: FamilyScores, all_queries: SliceScore, longest: float) -> None:
    """One family: a pair of bars a slice, the first slice on top.

    Args:
        axes: Where to draw.
        family: What to draw.
        all_queries: The dashed lines.
        longest: R@1, in percent, at which the longest bar or interval of the figure ends.
    """
    for side, (direction, _, colour, _) in zip((-1, 1), _DIRECTIONS, strict=True):
        whole: RetrievalMetrics | None = getattr(all_queries, direction)
        if whole is not None:
            axes.axvline(whole.r1, color=colour, linestyle="--", linewidth=1, zorder=3)
        for place, one in enumerate(family.slices):
            _bar(axes, place + side * _BAR / 2, one, direction, colour)
    # Labels are anybody's text: a dollar sign in them begins no formula.
    axes.set_yticks(
        range(len(family.slices)), [cut(one.label, _LONGEST_LABEL) for one in family.slices], parse_math=False
    )
    axes.set_ylim(len(family.slices) - 0.5, -0.5)
    axes.set_xlim(0, _ROOM * longest)
    axes.set_xticks([tick for tick in axes.get_xticks() if tick <= min(100, _ROOM * longest)])
    axes.set_xlabel("R@1, %", fontsize=9)
    axes.set_title(fill(f"{family.name}: {family.summary}", _TITLE_WIDTH), loc="left", fontsize=9.5, parse_math=False)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(labelsize=9)
    axes.spines[["top", "right"]].set_visible(False)


def _bar(axes: Axes, place: float, one: SliceScore, direction: str, colour: str) -> None:
    """One bar with its interval; and its number and count beside the panel, where no bar and no line runs through them.

    A bar of length 0 shows no hatching, so that few queries are marked beside the count, too.
    """
    metrics: RetrievalMetrics | None = getattr(one, direction)
    style: dict[str, Any] = {"va": "center", "fontsize": 7.5, "transform": axes.get_yaxis_transform()}
    if metrics is None:
        axes.text(_NUMBERS_AT, place, "no query", color=_PALE, **style)
        return
    few: dict[str, Any] = {"hatch": "////", "edgecolor": "white", "alpha": 0.6} if one.is_few(direction) else {}
    axes.barh(place, metrics.r1, height=_BAR, color=colour, zorder=2, **few)
    if direction in one.intervals:
        interval = one.intervals[direction]["r1"]
        axes.hlines(place, interval.low, interval.high, color="#333333", linewidth=0.8, zorder=4)
    mark = FEW_MARK if few else ""
    number = f"{metrics.r1:.1f}  (n {metrics.num_queries:,}{mark})"
    axes.text(_NUMBERS_AT, place, number, color=_PALE if few else "black", **style)
