"""What is searched for, where, and among which videos."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from math import inf
from operator import index
from pathlib import Path

from pipeline.errors import OptionError
from pipeline.run.fields import check_kinds, convert_fields, limits, local_path

MAX_LETTERS = 100_000
"""Of a query: a thousand times what any model reads."""


class QueryKind(StrEnum):
    """What a query is given as."""

    TEXT = "text"
    IMAGE = "image"
    """A picture's file."""
    VIDEO = "video"
    """The id of a video of the store: more like this."""
    CAPTION = "caption"
    """The id of a caption of the store."""


class Find(StrEnum):
    """What is found."""

    VIDEOS = "videos"
    CAPTIONS = "captions"


class By(StrEnum):
    """Which feature of a video is compared with the query."""

    VIDEO = "video"
    """That of the whole clip, as in `fda eval`."""
    FRAME = "frame"
    """That of its best frame: finds what is only seen for a moment."""


@dataclass(frozen=True, slots=True)
class Query:
    """One question: a text, a picture, or a video or caption of the store."""

    value: str
    """The text, the path of the picture, or the id."""
    kind: QueryKind = QueryKind.TEXT

    def __post_init__(self) -> None:
        convert_fields(self, kind=QueryKind)
        if not isinstance(self.value, str):
            raise OptionError(f"what to search for must be text, got {self.value!r:.100}")
        if not self.value.strip():
            raise OptionError(f"the {self.kind} to search for is empty")
        if len(self.value) > MAX_LETTERS:
            raise OptionError(f"a {self.kind} may have {MAX_LETTERS:,} letters, this one has {len(self.value):,}")
        if self.kind is not QueryKind.IMAGE and not _is_unicode(self.value):
            raise OptionError(f"a {self.kind} to search for must be UTF-8, got {self.value!r:.100}")


def _is_unicode(text: str) -> bool:
    """Whether a text can be written as UTF-8: what a shell hands on may be any bytes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Filters:
    """Which videos are candidates: those for which all that is given holds."""

    categories: tuple[str, ...] = ()
    """One of these."""
    motion: tuple[float, float] | None = None
    """Lowest and highest mean share of the picture that masks cover, 0..1; infinity as an open end."""
    duration_seconds: tuple[float, float] | None = None
    """Shortest and longest."""
    camera_moves: bool | None = None
    """Only videos whose camera moves, or only those whose camera rests; None: all."""

    def __post_init__(self) -> None:
        convert_fields(self, categories=tuple, motion=limits, duration_seconds=limits)
        for name, most in (("motion", 1.0), ("duration_seconds", inf)):
            low, high = getattr(self, name) or (0.0, most)
            if not low <= high:
                raise OptionError(f"{name} goes from the lowest to the highest value, got {low} to {high}")
            if low < 0 or low > most or most < high < inf:
                raise OptionError(f"{name} is from 0 to {most:g}, got {low} to {high}")


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """How a query is answered."""

    features: tuple[str, ...] = ()
    """Feature sets, each answered by itself; none given: the only one of the store."""
    splits: tuple[str, ...] = ()
    """None given: all that have these features."""
    find: Find = Find.VIDEOS
    by: By = By.VIDEO
    top: int = 10
    """Hits of an answer, at most."""
    filters: Filters = field(default_factory=Filters)
    approximate: bool = False
    """Look at 8-bit copies of the vectors, in a quarter of the memory, and at the exact vectors of the likeliest ones.
    Needs usearch; for videos, compared as whole clips."""

    def __post_init__(self) -> None:
        convert_fields(self, features=tuple, splits=tuple, find=Find, by=By, top=index)
        check_kinds(top=(self.top, int), filters=(self.filters, Filters))
        if self.top < 1:
            raise OptionError(f"the number of hits must be at least 1, got {self.top}")
        if self.approximate and (self.find is not Find.VIDEOS or self.by is not By.VIDEO):
            raise OptionError("an approximate search is for videos as whole clips: search captions and frames exactly")


@dataclass(frozen=True, slots=True)
class SearchFiles:
    """Files that `fda search` writes."""

    page: Path | None = None
    """One HTML file: the hits with their frames."""
    overwrite: bool = False
    """Whether to replace it."""

    def __post_init__(self) -> None:
        convert_fields(self, page=local_path)
