"""The page of a search: a gallery of what was found, in one self-contained HTML file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.pages.environment import templates_of, write_page
from pipeline.pages.pictures import data_url, shrunk
from pipeline.pages.texts import visible
from pipeline.run.words import cut, listed, plural
from pipeline.search.answers import Answer, Hit
from pipeline.search.moments import clock
from pipeline.search.options import QueryKind
from store.errors import StoreError
from store.view import StoreView, open_store

BEST_SIDE, STRIP_SIDE = 224, 72
"""Pixels of the picture of the best moment, and of those of a strip."""
MAX_HITS_WITH_PICTURES = 200
"""Of a page: more pictures make a file of tens of megabytes, which no browser opens gladly."""
MAX_LETTERS = 2_000
"""Of a query or caption."""


@dataclass(frozen=True, slots=True)
class _Frame:
    """A frame in a strip."""

    clock: str
    score: str
    height: int
    """Of the bar under it, percent: where the score lies between the lowest and the highest of this answer."""
    picture: str | None
    """A URL that contains it."""
    is_best: bool


@dataclass(frozen=True, slots=True)
class _Card:
    """One hit."""

    hit: Hit
    video_id: str
    caption: str
    clock: str
    score: str
    picture: str | None
    frames: tuple[_Frame, ...]


@dataclass(frozen=True, slots=True)
class _Section:
    """One answer."""

    title: str
    kind: str
    about: str
    cards: tuple[_Card, ...]


def write_search_page(path: Path, answers: Iterable[Answer]) -> None:
    """Write the page. Whatever comes from a data set is escaped; frames come from the stores, not from the videos.

    A video whose frames cannot be read has a card without a picture.

    Args:
        path: Of the HTML file.
        answers: What was found.

    Raises:
        OSError: The folder is missing, or cannot be written.
    """
    pictures = _Pictures()
    sections = [_section(answer, pictures) for answer in answers]
    html = templates_of("pipeline.search").get_template("search.html")
    write_page(path, html.render(sections=sections, num_without=pictures.num_left_out, limit=MAX_HITS_WITH_PICTURES))


def _section(answer: Answer, pictures: _Pictures) -> _Section:
    kind = answer.query.kind
    what = "caption" if any(hit.caption_id is not None for hit in answer.hits) else "video"
    scores = [frame.score for hit in answer.hits for frame in hit.frames] or [0.0]
    return _Section(
        title=_short(answer.query.value),
        kind="" if kind is QueryKind.TEXT else str(kind),
        about=(
            f"{plural(answer.num_candidates, what)} of {listed(answer.stores)} compared; features {answer.features}; "
            f"encoder {answer.encoder}"
        ),
        cards=tuple(_card(hit, pictures, min(scores), max(scores)) for hit in answer.hits),
    )


def _card(hit: Hit, pictures: _Pictures, lowest: float, highest: float) -> _Card:
    frames, moment = pictures.of(hit), hit.moment
    return _Card(
        hit=hit,
        video_id=visible(hit.video_id),
        caption=_short(hit.caption or ""),
        clock="" if moment is None else clock(moment.seconds),
        score=f"{hit.score:.3f}",
        picture=None if frames is None else _url(frames[0 if moment is None else moment.frame], BEST_SIDE),
        frames=tuple(_strip(hit, frames, lowest, highest)),
    )


def _strip(hit: Hit, frames: NDArray[np.uint8] | None, lowest: float, highest: float) -> Iterator[_Frame]:
    for one in hit.frames:
        # With a single score, or equal ones, all bars are whole.
        share = (one.score - lowest) / (highest - lowest) if highest > lowest else 1.0
        yield _Frame(
            clock=clock(one.seconds),
            score=f"{one.score:.3f}",
            height=round(100 * share),
            picture=None if frames is None else _url(frames[one.frame], STRIP_SIDE),
            is_best=one == hit.moment,
        )


class _Pictures:
    """Reads the frames of hits."""

    def __init__(self) -> None:
        self.num_left_out = 0
        """Hits beyond `MAX_HITS_WITH_PICTURES`."""
        self._num_shown = 0
        self._views: dict[str, StoreView] = {}

    def of(self, hit: Hit) -> NDArray[np.uint8] | None:
        """Shape (num_frames, height, width, 3); None where they cannot be read, or are too many for a page."""
        if self._num_shown == MAX_HITS_WITH_PICTURES:
            self.num_left_out += 1
            return None
        with suppress(StoreError):
            if hit.store not in self._views:
                self._views[hit.store] = open_store(hit.store)
            frames = self._views[hit.store].frames(hit.row, split=hit.split)
            # Only those that could be read count against the limit.
            self._num_shown += 1
            return frames
        return None


def _url(frame: NDArray[np.uint8], side: int) -> str:
    """Of a frame, which is never made larger than it is stored."""
    return data_url(shrunk(frame, min(side, *frame.shape[:2])), ".jpg")


def _short(text: str) -> str:
    return visible(cut(text, MAX_LETTERS))
