"""Every feature set with its metrics and intervals in both directions, and why they may not be fair."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from markupsafe import Markup

from pipeline.evaluation.metrics import RetrievalMetrics
from pipeline.evaluation.names import DIRECTIONS
from pipeline.evaluation.options import BootstrapOptions
from pipeline.evaluation.protocols import PROTOCOLS, Protocol
from pipeline.evaluation.statistics.intervals import Interval
from pipeline.pages.figures import MARKERS, SERIES, drawing, svg_of
from pipeline.reporting.page import Section
from pipeline.reporting.scoring import ScoredSet, ScoredSplit
from pipeline.reporting.subject import Subject

COLUMNS = (("r1", "R@1"), ("r5", "R@5"), ("r10", "R@10"), ("r50", "R@50"), ("median_rank", "MdR"), ("mean_rank", "MnR"))
"""Field of `RetrievalMetrics`, and what it is called."""
TITLES = {"text_to_video": "text to video", "video_to_text": "video to text"}
_DRAWN = (("r1", "R@1"), ("r5", "R@5"), ("r10", "R@10"))


@dataclass(frozen=True, slots=True)
class DirectionRow:
    """One feature set in one direction."""

    name: str
    direction: str
    metrics: RetrievalMetrics
    intervals: Mapping[str, Interval] | None
    is_fair: bool


@dataclass(frozen=True, slots=True)
class SplitShown:
    """The feature sets of one split."""

    scored: ScoredSplit
    rows: tuple[DirectionRow, ...]
    others: tuple[str, ...]
    """Protocols besides the chosen one that can be applied to some set."""
    with_ndcg: bool
    """Whether videos have several captions, so that there is an nDCG."""
    figure: Markup | None


@dataclass(frozen=True, slots=True)
class Retrieval:
    """All that was scored."""

    splits: tuple[SplitShown, ...]
    not_scored: tuple[str, ...]
    """Splits with features that were left out."""
    protocol: Protocol
    level: float
    columns: tuple[tuple[str, str], ...] = COLUMNS


def retrieval_section(subject: Subject) -> Section:
    """The section."""
    splits = tuple(_shown(number, scored) for number, scored in enumerate(subject.scores.splits))
    values = Retrieval(splits, subject.scores.not_scored, PROTOCOLS[subject.options.protocol], BootstrapOptions().level)
    return Section.of("retrieval", "Retrieval", values)


def _shown(number: int, scored: ScoredSplit) -> SplitShown:
    rows = [
        DirectionRow(
            one.name,
            TITLES[direction],
            getattr(one.metrics, direction),
            None if one.intervals is None else one.intervals[direction],
            is_fair=not one.caveats,
        )
        for direction in DIRECTIONS
        for one in scored.sets
    ]
    others = tuple(dict.fromkeys(name for one in scored.sets for name in one.others))
    with_ndcg = any(one.metrics.video_to_text.ndcg is not None for one in scored.sets)
    return SplitShown(scored, tuple(rows), others, with_ndcg, _figure(number, scored) if scored.sets else None)


def _figure(number: int, scored: ScoredSplit) -> Markup:
    """A panel a direction: R@1, R@5 and R@10 of each set with their intervals."""
    height = 0.9 + 2 * (0.45 + 0.5 * len(scored.sets))
    with drawing(height, 2) as (figure, panels):
        for axes, direction in zip(panels, DIRECTIONS, strict=True):
            for row, one in enumerate(scored.sets):
                for column, (field, _) in enumerate(_DRAWN):
                    place, value = row + 0.22 * (column - 1), getattr(getattr(one.metrics, direction), field)
                    if one.intervals is not None:
                        interval = one.intervals[direction][field]
                        axes.hlines(place, interval.low, interval.high, color=SERIES[column], linewidth=1.6)
                    axes.plot([value], [place], MARKERS[column], color=SERIES[column], markersize=5.5, clip_on=False)
            axes.set_yticks(range(len(scored.sets)), [shortened(one.name) for one in scored.sets], parse_math=False)
            axes.set_ylim(len(scored.sets) - 0.5, -0.5)
            axes.set_xlim(0, 100)
            axes.set_title(TITLES[direction], loc="left")
        panels[-1].set_xlabel("% of queries")
        handles = [
            panels[0].plot([], [], MARKERS[column], color=SERIES[column], label=label)[0]
            for column, (_, label) in enumerate(_DRAWN)
        ]
        figure.legend(handles=handles, loc="outside upper left", ncols=3, handletextpad=0.1, columnspacing=1.0)
        told = "; ".join(_told(one) for one in scored.sets)
        return svg_of(figure, f"retrieval-{number}", f"R@1, R@5 and R@10 on split {scored.split}. {told}")


def _told(one: ScoredSet) -> str:
    both = (f"{TITLES[direction]} R@1 {getattr(one.metrics, direction).r1:.1f}%" for direction in DIRECTIONS)
    return f"{one.name}: {', '.join(both)}"


def shortened(name: str, length: int = 18) -> str:
    """A name for an axis of a figure, which has room for so many letters.

    >>> shortened("a-feature-set-with-a-long-name", 10)
    'a-fea…name'
    """
    half = length // 2
    return name if len(name) <= length else f"{name[:half]}…{name[-(length - half - 1) :]}"
