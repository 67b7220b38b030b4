"""Example retrievals, right and wrong: the query, its own video, and what came first instead, with frames of both."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.reporting.examples import Candidate, Example
from pipeline.reporting.page import Section
from pipeline.reporting.scoring import ScoredSet, ScoredSplit
from pipeline.reporting.subject import Subject
from pipeline.reporting.thumbnails import Strip


@dataclass(frozen=True, slots=True)
class Shown:
    """One side of an example."""

    candidate: Candidate
    strip: Strip


@dataclass(frozen=True, slots=True)
class ExampleShown:
    """One example with its pictures."""

    found: Example
    query: Strip | None
    """From video to text: the query."""
    own: Shown
    other: Shown | None


@dataclass(frozen=True, slots=True)
class SetExamples:
    """The examples of one feature set."""

    split: str
    name: str
    to_video: tuple[ExampleShown, ...]
    to_text: tuple[ExampleShown, ...]


@dataclass(frozen=True, slots=True)
class Retrieved:
    """All examples."""

    sets: tuple[SetExamples, ...]
    num_without: int
    """Feature sets that were scored and have no examples here."""


def retrieved_section(subject: Subject) -> Section | None:
    """The section; None where nothing was scored."""
    scored = [(split, one) for split in subject.scores.splits for one in split.sets]
    if not scored:
        return None
    sets = tuple(_examples(subject, split, one) for split, one in scored if one.examples)
    return Section.of("retrieved", "Example retrievals", Retrieved(sets, len(scored) - len(sets)))


def _examples(subject: Subject, split: ScoredSplit, one: ScoredSet) -> SetExamples:
    shown = [_shown(subject, split.split, example) for example in one.examples]
    return SetExamples(
        split.split,
        one.name,
        to_video=tuple(its for its in shown if its.found.direction == "text_to_video"),
        to_text=tuple(its for its in shown if its.found.direction == "video_to_text"),
    )


def _shown(subject: Subject, split: str, example: Example) -> ExampleShown:
    def side(candidate: Candidate) -> Shown:
        return Shown(candidate, subject.pictures.of(candidate.video_id, split))

    is_video = example.direction == "video_to_text"
    return ExampleShown(
        found=example,
        query=subject.pictures.of(example.query_id, split) if is_video else None,
        own=side(example.own),
        other=None if example.other is None else side(example.other),
    )
