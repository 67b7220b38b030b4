"""What a page lists: the answer to its question, or a page of the whole set."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from encoders.errors import EncoderError
from pipeline.errors import PipelineError
from pipeline.search.answers import Answer, FrameScore, Hit
from pipeline.search.engine import SearchEngine
from pipeline.search.options import Filters, Query, QueryKind, SearchOptions
from pipeline.serving.address import Address, inclusive, limits
from pipeline.serving.facets import passing
from pipeline.serving.library import Library, VideoKey
from pipeline.serving.uploads import Uploads
from store.errors import StoreError

MAX_RANKED = 1000
"""Hits of an answer that can be paged through, and within which ranks of two feature sets are compared."""
_USER_ERRORS = (PipelineError, StoreError, EncoderError, OSError)
"""Reasons why there is no answer that a user can do something about."""


@dataclass(frozen=True, slots=True)
class Item:
    """A video in a list, with the frames that are known of it."""

    key: VideoKey
    rank: int | None = None
    """From 1; None in the whole set."""
    score: float | None = None
    frames: tuple[FrameScore, ...] = ()
    """With scores; none in the whole set."""
    caption: str | None = None
    caption_id: str | None = None
    """Of the caption that was found, where captions are."""
    change: int | None = None
    """By how many ranks it is better here than in the other feature set."""
    is_new: bool = False
    """Whether the other feature set does not have it among the first."""


@dataclass(frozen=True, slots=True)
class Listing:
    """One list of a page."""

    title: str
    """Name of the feature set; empty for the whole set."""
    items: tuple[Item, ...] = ()
    num_found: int = 0
    """Videos or captions that can be paged through."""
    num_candidates: int = 0
    encoder: str = ""
    problem: str = ""
    """Why there is no answer."""


@dataclass(frozen=True, slots=True)
class Results:
    """What a page lists."""

    listings: tuple[Listing, ...]
    seconds: float
    kind: QueryKind | None = None
    """What the query was taken for."""

    def item(self, key: VideoKey) -> Item | None:
        """A video in one of the lists."""
        return next((item for listing in self.listings for item in listing.items if item.key == key), None)


def feature_names(library: Library) -> tuple[str, ...]:
    """Names of all feature sets."""
    names = {
        name for shelf in library.shelves for split in shelf.view.splits for name in shelf.view.feature_names(split)
    }
    return tuple(sorted(names))


def results_of(library: Library, engine: SearchEngine, uploads: Uploads, address: Address) -> Results:
    """The lists of a page."""
    began = time.perf_counter()
    if not address.is_search:
        listing = _whole_set(library, address)
        return Results((listing,), time.perf_counter() - began)
    query, problem = _query(library, uploads, address)
    if query is None:
        return Results((Listing("", problem=problem),), time.perf_counter() - began, QueryKind.IMAGE)
    there = feature_names(library)
    names = [name for name in dict.fromkeys((address.features or (there[0] if there else ""), address.versus)) if name]
    if not names:
        problem = "There are no features to search by: `fda encode STORE --features NAME --model ...` makes them."
        return Results((Listing("", problem=problem),), time.perf_counter() - began, query.kind)
    answers = [one for name in names for one in _answers(engine, query, name, address, is_compared=len(names) > 1)]
    listings = tuple(_paged(library, one, answers, address) for one in answers)
    return Results(listings, time.perf_counter() - began, query.kind)


def _query(library: Library, uploads: Uploads, address: Address) -> tuple[Query | None, str]:
    """The query; without one, why there is none."""
    if address.image:
        found = uploads.find(address.image)
        if found is None:
            gone = "This picture is not on the server any more: pictures are kept until it ends. Give it again."
            return None, gone
        return Query(str(found[0]), QueryKind.IMAGE), ""
    text, kind = address.query, address.kind
    if kind:
        found_kind = QueryKind(kind)
    elif library.anywhere(text) is not None:
        found_kind = QueryKind.VIDEO
    # Ids of captions are VIDEO#NUMBER: only then is it worth the dict of all captions, which is large.
    elif "#" in text and any(text in shelf.caption_videos for shelf in library.shelves):
        found_kind = QueryKind.CAPTION
    else:
        found_kind = QueryKind.TEXT
    return Query(text, found_kind), ""


def _whole_set(library: Library, address: Address) -> Listing:
    places = np.flatnonzero(passing(library, address))
    start = (address.page - 1) * address.size
    items = []
    for place in places[start : start + address.size].tolist():
        key = library.key(place)
        captions = library.shelves[key.store].captions_of(key.video_id, 1)
        items.append(Item(key, caption=captions[0][1] if captions else None))
    return Listing("", tuple(items), len(places), len(places))


@dataclass(frozen=True, slots=True)
class _Failed:
    """A feature set that gives no answer."""

    features: str
    why: str


def _answers(
    engine: SearchEngine, query: Query, name: str, address: Address, *, is_compared: bool
) -> Sequence[Answer | _Failed]:
    """The answers of a feature set: one, unless stores have features of this name by several encoders."""
    # To compare, ranks of hits on later pages are needed too; otherwise only those down to this page.
    top = MAX_RANKED if is_compared else min(MAX_RANKED, address.page * address.size)
    camera = None if not address.camera else address.camera == "moves"
    filters = Filters(
        address.categories, inclusive(limits(address.motion, 0.01)), inclusive(limits(address.seconds)), camera
    )
    options = SearchOptions((name,), address.splits, address.find, address.by, top, filters)
    try:
        return engine.search([query], options)
    except _USER_ERRORS as error:
        return [_Failed(name, str(error) or type(error).__name__)]


def _paged(
    library: Library, answer: Answer | _Failed, answers: Sequence[Answer | _Failed], address: Address
) -> Listing:
    if isinstance(answer, _Failed):
        return Listing(answer.features, problem=answer.why)
    numbers = {shelf.view.place: shelf.number for shelf in library.shelves}
    others = [one for one in answers if isinstance(one, Answer) and one.features != answer.features]
    ranks = {_identity(hit): hit.rank for other in others for hit in other.hits} if others else None
    start = (address.page - 1) * address.size
    items = [
        _compared(_item(hit, numbers[hit.store]), ranks, _identity(hit))
        for hit in answer.hits[start : start + address.size]
    ]
    num_found = min(MAX_RANKED, answer.num_candidates)
    return Listing(answer.features, tuple(items), num_found, answer.num_candidates, answer.encoder)


def _identity(hit: Hit) -> tuple[str, str, str | None]:
    return hit.store, hit.video_id, hit.caption_id


def _item(hit: Hit, store: int) -> Item:
    key = VideoKey(store, hit.split, hit.row, hit.video_id)
    return Item(key, hit.rank, hit.score, hit.frames, hit.caption, hit.caption_id)


def _compared(
    item: Item, ranks: dict[tuple[str, str, str | None], int] | None, its: tuple[str, str, str | None]
) -> Item:
    if ranks is None or item.rank is None:
        return item
    other = ranks.get(its)
    return replace(item, is_new=True) if other is None else replace(item, change=other - item.rank)


def score_range(listings: Sequence[Listing]) -> tuple[float, float]:
    """The lowest and the highest score of a frame on a page: what bars are drawn between."""
    scores = [frame.score for listing in listings for item in listing.items for frame in item.frames]
    return (min(scores), max(scores)) if scores else (0.0, 1.0)


def num_pages(listing: Listing, size: int) -> int:
    """Pages of a list."""
    return max(1, math.ceil(listing.num_found / size))
