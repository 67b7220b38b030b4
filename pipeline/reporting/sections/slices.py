"""R@1 of groups of queries, all feature sets of a split side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from pipeline.evaluation.names import FAMILIES
from pipeline.evaluation.slices.scoring import FEW_VIDEOS, FamilyScores, SliceScore
from pipeline.pages.figures import MARKERS, SERIES, drawing, svg_of
from pipeline.pages.texts import visible
from pipeline.reporting.page import Section
from pipeline.reporting.scoring import ScoredSet, ScoredSplit
from pipeline.reporting.sections.retrieval import shortened
from pipeline.reporting.subject import Subject
from pipeline.run.words import cut, plural

MOST_SLICES = 16
"""Of a family: a catalogue may have hundreds of categories."""
DRAWN = ("motion", "camera", "caption")
"""Families with a figure."""


@dataclass(frozen=True, slots=True)
class SliceRow:
    """One slice in all sets; None in a set without it."""

    family: str
    label: str
    num_captions: int
    is_few: bool
    """Whether its captions are of so few videos that it means little."""
    scores: tuple[SliceScore | None, ...]


@dataclass(frozen=True, slots=True)
class SplitSliced:
    """The slices of one split."""

    split: str
    names: tuple[str, ...]
    """Of the feature sets."""
    summaries: tuple[tuple[str, str], ...]
    """Family, and by what it divides."""
    rows: tuple[SliceRow, ...]
    num_left_out: int
    figures: tuple[Markup, ...]
    not_sliced: tuple[tuple[str, str], ...]
    """Feature set, and why it has no slices."""


@dataclass(frozen=True, slots=True)
class Slices:
    """All splits."""

    splits: tuple[SplitSliced, ...]
    few: int = FEW_VIDEOS


def slices_section(subject: Subject) -> Section | None:
    """The section; None where nothing was scored."""
    splits = [_sliced(number, scored) for number, scored in enumerate(subject.scores.splits) if scored.sets]
    if not splits:
        return None
    return Section.of("slices", "Slices of the queries", Slices(tuple(splits)))


def _sliced(number: int, scored: ScoredSplit) -> SplitSliced:
    sliced = [one for one in scored.sets if one.slices is not None]
    families: dict[str, FamilyScores] = {}
    for one in sliced:
        assert one.slices is not None
        # The first set that has a family names its slices; of the others, slices are found by name.
        families.update({its.name: its for its in one.slices.telling if its.name not in families})
    families = {name: families[name] for name in FAMILIES if name in families}
    rows = [row for family in families.values() for row in _rows(family, sliced)]
    return SplitSliced(
        split=scored.split,
        names=tuple(one.name for one in sliced),
        summaries=tuple((family.name, family.summary) for family in families.values()),
        rows=tuple(rows),
        num_left_out=sum(max(0, len(family.slices) - MOST_SLICES) for family in families.values()),
        figures=tuple(
            _figure(f"slices-{number}-{name}", family, [row for row in rows if row.family == name], sliced)
            for name, family in families.items()
            if name in DRAWN
        ),
        not_sliced=tuple((one.name, one.why_no_slices) for one in scored.sets if one.slices is None),
    )


def _rows(family: FamilyScores, sets: Sequence[ScoredSet]) -> list[SliceRow]:
    largest = sorted(family.slices, key=lambda one: -one.num_videos["text_to_video"])[:MOST_SLICES]
    # The largest ones, in the order of the family again: of durations, short ones first.
    kept = [one for one in family.slices if one in largest]
    return [
        SliceRow(
            family=family.name,
            label=one.label,
            num_captions=0 if one.text_to_video is None else one.text_to_video.num_queries,
            is_few=one.is_few("text_to_video"),
            scores=tuple(_same(its, family.name, one.name) for its in sets),
        )
        for one in kept
    ]


def _same(scored: ScoredSet, family: str, name: str) -> SliceScore | None:
    assert scored.slices is not None, "asked for where there are some"
    found = (one for its in scored.slices.telling if its.name == family for one in its.slices if one.name == name)
    return next(found, None)


def _figure(name: str, family: FamilyScores, rows: Sequence[SliceRow], sets: Sequence[ScoredSet]) -> Markup:
    """R@1 from text to video of each slice, in the first sets."""
    drawn = sets[: len(SERIES)]
    with drawing(1.15 + len(rows) * (0.3 + 0.16 * len(drawn))) as (figure, (axes,)):
        for number, _ in enumerate(drawn):
            for place, row in enumerate(rows):
                score = row.scores[number]
                if score is None or score.text_to_video is None:
                    continue
                # The sets lie side by side within 0.7 of the distance between two slices, about its middle.
                at = place + (number - (len(drawn) - 1) / 2) * 0.7 / max(len(drawn), 2)
                interval = score.intervals.get("text_to_video", {}).get("r1")
                if interval is not None:
                    axes.hlines(at, interval.low, interval.high, color=SERIES[number], linewidth=1.6)
                axes.plot(
                    [score.text_to_video.r1], [at], MARKERS[number], color=SERIES[number], markersize=5.5, clip_on=False
                )
        labels = [f"{cut(visible(row.label), 26)}\n{plural(row.num_captions, 'caption')}" for row in rows]
        axes.set_yticks(range(len(rows)), labels, parse_math=False, fontsize=9)
        # From high to low: the first slice is on top.
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlim(left=0)
        axes.set_xlabel("R@1 from text to video, %")
        handles = [
            axes.plot([], [], MARKERS[number], color=SERIES[number], label=shortened(one.name))[0]
            for number, one in enumerate(drawn)
        ]
        figure.legend(handles=handles, loc="outside upper left", ncols=2, handletextpad=0.1, columnspacing=1.0)
        figure.suptitle(f"{family.name}", x=0.99, ha="right", fontsize=11)
        return svg_of(figure, name, f"R@1 {family.summary}; the numbers are in the table below")
