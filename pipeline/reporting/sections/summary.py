"""The beginning of the page: the store in a few numbers, the result in a sentence, and what the page lacks."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.evaluation.metrics import RetrievalMetrics
from pipeline.evaluation.statistics.intervals import Interval
from pipeline.reporting.page import Section
from pipeline.reporting.subject import Subject
from store.contents import SharedVideos

MOST_WARNINGS = 12


@dataclass(frozen=True, slots=True)
class Headline:
    """The best feature set of a split, from text to video."""

    split: str
    name: str
    num_sets: int
    metrics: RetrievalMetrics
    interval: Interval | None
    num_videos: int
    num_videos_expected: int
    caveats: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Summary:
    """The store in a few numbers."""

    facts: tuple[tuple[str, str], ...]
    headlines: tuple[Headline, ...]
    shared: tuple[SharedVideos, ...]
    """Videos that two splits have in common."""
    claims: tuple[str, ...]
    """Who is writing into the store."""
    warnings: tuple[str, ...]
    num_more_warnings: int
    pending: tuple[tuple[str, str, int, int], ...]
    """Split, stage, pending shards and all shards, of what is not complete."""


def summary_section(subject: Subject) -> Section:
    """The section; made last, when all warnings are known."""
    warnings = tuple(dict.fromkeys((*(subject.status.damaged if subject.status else ()), *subject.report.warnings)))
    values = Summary(
        facts=_facts(subject),
        headlines=_headlines(subject),
        shared=subject.shared or (),
        claims=subject.claims,
        warnings=warnings[:MOST_WARNINGS],
        num_more_warnings=max(0, len(warnings) - MOST_WARNINGS),
        pending=_pending(subject),
    )
    return Section.of("summary", "In short", values)


def _facts(subject: Subject) -> tuple[tuple[str, str], ...]:
    layouts = subject.store.manifest.splits
    facts = [
        ("videos", f"{sum(one.num_videos for one in layouts.values()):,}"),
        ("captions", f"{sum(one.num_captions for one in layouts.values()):,}"),
        ("splits" if len(layouts) > 1 else "split", f"{len(layouts):,}"),
    ]
    if subject.status is not None:
        frames = [split.stages[0] for split in subject.status.splits]
        facts.insert(1, ("clips", f"{sum(one.num_filled for one in frames):,}"))
        facts.insert(2, ("failed", f"{len(subject.status.failures):,}"))
        facts.append(("on disk", _size(subject.status.num_bytes)))
    facts.append(("mask sets" if len(subject.masks) != 1 else "mask set", f"{len(subject.masks):,}"))
    facts.append(("feature sets" if len(subject.features) != 1 else "feature set", f"{len(subject.features):,}"))
    return tuple(facts)


def _size(num_bytes: int) -> str:
    """A size as people read it.

    >>> _size(89_338_675), _size(3 * 2**40)
    ('85.2 MiB', '3.0 TiB')
    """
    value, unit = float(num_bytes), "B"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if value < 1024 or unit == "TiB":
            break
        value /= 1024
    return f"{value:,.1f} {unit}"


def _headlines(subject: Subject) -> tuple[Headline, ...]:
    found = []
    for scored in subject.scores.splits:
        if not scored.sets:
            continue
        # With its caveats, which the template shows: the best may be the one that was trained on these videos.
        best = max(scored.sets, key=lambda one: one.metrics.text_to_video.r1)
        interval = None if best.intervals is None else best.intervals["text_to_video"]["r1"]
        found.append(
            Headline(
                split=scored.split,
                name=best.name,
                num_sets=len(scored.sets),
                metrics=best.metrics.text_to_video,
                interval=interval,
                num_videos=best.num_videos,
                num_videos_expected=best.num_videos_expected,
                caveats=best.caveats,
            )
        )
    return tuple(found)


def _pending(subject: Subject) -> tuple[tuple[str, str, int, int], ...]:
    if subject.status is None:
        return ()
    stages = [(split.split, stage) for split in subject.status.splits for stage in split.stages]
    return tuple(
        (split, stage.stage, stage.num_shards - stage.num_done, stage.num_shards)
        for split, stage in stages
        if stage.num_done < stage.num_shards
    )[:12]
