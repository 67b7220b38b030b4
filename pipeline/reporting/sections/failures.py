"""Videos without a clip, by status and by reason, with examples."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from pipeline.reporting.page import Section
from pipeline.reporting.subject import Subject
from store.failures import FailedVideo
from store.schema import VideoStatus

MOST_REASONS, MOST_EXAMPLES = 20, 3
_MEANS = {
    VideoStatus.MISSING: "no file at its path",
    VideoStatus.EMPTY: "a file without a byte",
    VideoStatus.NO_VIDEO_STREAM: "a file without pictures",
    VideoStatus.CORRUPT: "not a video, or damaged",
    VideoStatus.TRUNCATED: "cut off before all frames were there",
    VideoStatus.TOO_SHORT: "no frame in the part that is asked for",
    VideoStatus.TIMEOUT: "took longer than one video may",
    VideoStatus.UNSUPPORTED: "above a limit, or of an unknown kind",
    VideoStatus.PENDING: "the machine stopped the decoding: the next run tries again",
}


@dataclass(frozen=True, slots=True)
class StatusRow:
    """How many videos ended like this."""

    status: str
    means: str
    number: int
    by_split: str


@dataclass(frozen=True, slots=True)
class ReasonRow:
    """Videos with one reason, but for names and numbers in it."""

    status: str
    reason: str
    """With those of the first of them."""
    number: int
    examples: tuple[FailedVideo, ...]


@dataclass(frozen=True, slots=True)
class Failures:
    """All videos without a clip."""

    num_videos: int
    num_failed: int
    num_pending: int
    statuses: tuple[StatusRow, ...]
    reasons: tuple[ReasonRow, ...]
    num_more_reasons: int


def failures_section(subject: Subject) -> Section:
    """The section; without a failure it says so."""
    status = subject.status
    assert status is not None, "asked for where there is one"
    failed = (*status.failures, *status.pending)
    reasons = _by_reason(failed)
    values = Failures(
        num_videos=sum(one.num_videos for one in status.splits),
        num_failed=len(status.failures),
        num_pending=len(status.pending),
        statuses=tuple(_by_status(failed)),
        reasons=tuple(reasons[:MOST_REASONS]),
        num_more_reasons=max(0, len(reasons) - MOST_REASONS),
    )
    return Section.of("failures", "Failed videos", values)


def _by_status(failed: Iterable[FailedVideo]) -> Iterable[StatusRow]:
    groups: dict[VideoStatus, list[FailedVideo]] = {}
    for one in failed:
        groups.setdefault(one.status, []).append(one)
    for status, some in sorted(groups.items(), key=lambda item: -len(item[1])):
        splits = Counter(one.split for one in some).most_common(4)
        told = ", ".join(f"{split} {number:,}" for split, number in splits)
        yield StatusRow(str(status), _MEANS.get(status, ""), len(some), told)


def _by_reason(failed: Iterable[FailedVideo]) -> list[ReasonRow]:
    groups: dict[tuple[str, str], list[FailedVideo]] = {}
    for one in failed:
        # By shape: reasons name a time or a size, so that nearly each of a thousand would be a group of its own.
        groups.setdefault((str(one.status), shape_of(one.reason or "")), []).append(one)
    rows = [
        ReasonRow(status, some[0].reason or "no reason was recorded", len(some), tuple(some[:MOST_EXAMPLES]))
        for (status, _), some in groups.items()
    ]
    return sorted(rows, key=lambda row: -row.number)


def shape_of(reason: str) -> str:
    """A reason without what is of one video alone: names in quotes, paths and numbers.

    >>> shape_of("3 of 12 frames of 'a.mp4' are missing") == shape_of("5 of 12 frames of 'b.mp4' are missing")
    True
    """
    return re.sub(r"'[^']*'|\"[^\"]*\"|\S*/\S*|[0-9a-f]*\d[0-9a-f]*", "#", reason[:500])
