"""The mask sets: how much of the pictures moves, how many masks are empty or full, and whether the camera moves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from pipeline.masks.summary import SplitMasks
from pipeline.pages.figures import SERIES, drawing, svg_of
from pipeline.reporting.page import Section
from pipeline.reporting.subject import Subject
from pipeline.reporting.thumbnails import Strip
from pipeline.run.words import percent, plural
from store.commits import VideoOutcome
from store.completion import Pending, judged_of_each
from store.json_values import JSON
from store.stages import masks_stage
from store.store import Store

MOST_SETS, MOST_PANELS = 6, 4
"""Mask sets with a figure, and splits in it."""
_BINS = np.linspace(0, 1, 21)


@dataclass(frozen=True, slots=True)
class MaskClip:
    """One clip as an example."""

    what: str
    """Why it was chosen."""
    coverage: float
    split: str
    strip: Strip


@dataclass(frozen=True, slots=True)
class MaskSetShown:
    """One mask set."""

    name: str
    options: Mapping[str, JSON]
    splits: tuple[SplitMasks, ...]
    num_more_splits: int
    figure: Markup | None
    """How much the masks of a video cover; None without masks, or without room."""
    clips: tuple[MaskClip, ...]


@dataclass(frozen=True, slots=True)
class Masks:
    """All mask sets."""

    sets: tuple[MaskSetShown, ...]


def masks_section(subject: Subject) -> Section:
    """The section."""
    assert subject.status is not None, "asked for where there is one"
    shown = []
    for number, (name, attributes) in enumerate(subject.masks.items()):
        found = [
            stage.masks
            for split in subject.status.splits
            for stage in split.stages
            if stage.stage == masks_stage(name) and stage.masks is not None and stage.masks.num_videos
        ]
        known = {} if number >= MOST_SETS else _outcomes(subject.store, name, [one.split for one in found])
        coverage = {split: _coverage(some) for split, some in known.items() if some}
        options = attributes.get("options")
        shown.append(
            MaskSetShown(
                name=name,
                options=options if isinstance(options, Mapping) else {},
                splits=tuple(found[:20]),
                num_more_splits=max(0, len(found) - 20),
                figure=_figure(name, number, coverage) if coverage else None,
                clips=_clips(subject, name, known),
            )
        )
    return Section.of("masks", "Masks", Masks(tuple(shown)))


def _outcomes(store: Store, name: str, splits: list[str]) -> dict[str, list[VideoOutcome]]:
    """Of the first splits, `test` before all: the videos that have masks."""
    chosen = sorted(splits, key=lambda split: split != "test")[:MOST_PANELS]
    found = {}
    for split in chosen:
        judged = judged_of_each(store, store.shards(split), [masks_stage(name)])
        records = [record for _, (record,) in judged if not isinstance(record, Pending)]
        outcomes = [one for record in records for one in record.outcomes]
        found[split] = [one for one in outcomes if one.filled and one.mask_coverage is not None]
    return found


def _coverage(outcomes: list[VideoOutcome]) -> NDArray[np.float64]:
    return np.array([one.mask_coverage or 0.0 for one in outcomes], np.float64)


def _figure(name: str, number: int, coverage: Mapping[str, NDArray[np.float64]]) -> Markup:
    """A histogram a split, below each other."""
    with drawing(0.5 + 1.35 * len(coverage), len(coverage)) as (figure, panels):
        for axes, (split, values) in zip(panels, coverage.items(), strict=True):
            counts, _ = np.histogram(values, _BINS)
            shares = 100 * counts / len(values)
            axes.bar(100 * _BINS[:-1], shares, width=4.4, align="edge", color=SERIES[0])
            median = 100 * float(np.median(values))
            axes.axvline(median, color=SERIES[1], linewidth=1.5)
            title = f"{split}: {plural(len(values), 'video')}, median {median:.1f}%"
            axes.set_title(title, loc="left", parse_math=False)
            axes.set_xlim(0, 100)
            axes.set_ylabel("% of videos", fontsize=9)
            axes.grid(axis="y")
        panels[-1].set_xlabel("share of the picture that moves, mean of a clip, %")
        told = "; ".join(
            f"{split}: median {percent(float(np.median(values)))}, from {percent(float(values.min()))} to "
            f"{percent(float(values.max()))}"
            for split, values in coverage.items()
        )
        return svg_of(figure, f"masks-{number}", f"Histogram of mask coverage, mask set {name}. {told}")


def _clips(subject: Subject, name: str, known: Mapping[str, list[VideoOutcome]]) -> tuple[MaskClip, ...]:
    """The clips with the least and the most motion, one in the middle, and one whose camera moves."""
    if not subject.options.thumbnails or not any(known.values()):
        return ()
    split, some = next((split, some) for split, some in known.items() if some)
    by_coverage = sorted(some, key=lambda one: (one.mask_coverage or 0.0, one.row))
    chosen = {"least motion": by_coverage[0], "in the middle": by_coverage[len(by_coverage) // 2]}
    moving = [one for one in by_coverage if one.camera_motion]
    if moving:
        chosen["the camera moves"] = moving[len(moving) // 2]
    chosen["most motion"] = by_coverage[-1]
    # A clip may be chosen twice, as among few. Reversed, so that it keeps the first of its reasons.
    unique = {one.row: (what, one) for what, one in reversed(chosen.items())}
    return tuple(
        MaskClip(what, one.mask_coverage or 0.0, split, subject.pictures.of(one.video_id, split, name))
        for what, one in sorted(unique.values(), key=lambda pair: pair[1].mask_coverage or 0.0)
    )
