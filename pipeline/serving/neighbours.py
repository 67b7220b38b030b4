"""What is near to a video: others like it, and how its captions find it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from encoders.errors import EncoderError
from pipeline.errors import PipelineError
from pipeline.search.engine import SearchEngine
from pipeline.search.options import Query, QueryKind, SearchOptions
from pipeline.serving.address import Address
from pipeline.serving.library import Library, VideoKey
from pipeline.serving.results import Item, Listing
from store.errors import StoreError

NUM_NEIGHBOURS = 12
MAX_CAPTIONS = 200


@dataclass(frozen=True, slots=True)
class RankedCaption:
    """A caption of a video."""

    caption_id: str
    text: str
    rank: int | None
    """Of the video among all of its split, where the caption is the query; a tie counts against it."""
    score: float | None
    url: str
    """The search by it."""


@dataclass(frozen=True, slots=True)
class RankedCaptions:
    """Captions of a video with their ranks."""

    captions: tuple[RankedCaption, ...]
    num_videos: int
    """Among which they are ranked."""
    num_more: int
    problem: str = ""
    """Why there are no ranks."""


def captions_with_ranks(library: Library, engine: SearchEngine, key: VideoKey, features: str) -> RankedCaptions:
    """The captions of a video, each with the rank of the video when it is the query."""
    shelf = library.shelves[key.store]
    texts = shelf.captions_of(key.video_id, MAX_CAPTIONS)
    ranks: dict[str, tuple[int, float]] = {}
    num_videos, problem = 0, ""
    if texts and features:
        try:
            ranks, num_videos = _ranks(engine, library, key, features)
        except (StoreError, PipelineError) as error:
            problem = str(error)
    found = []
    for caption_id, text in texts:
        rank, score = ranks.get(caption_id, (None, None))
        url = Address(query=caption_id, kind="caption", features=features).to()
        found.append(RankedCaption(caption_id, text, rank, score, url))
    return RankedCaptions(tuple(found), num_videos, shelf.num_captions_of(key.video_id) - len(texts), problem)


def neighbours_of(library: Library, engine: SearchEngine, key: VideoKey, features: str) -> Listing:
    """The videos that are most like a video."""
    if not features:
        return Listing("", problem="There are no features to compare videos by: `fda encode` makes them.")
    try:
        query = Query(key.video_id, QueryKind.VIDEO)
        # One more, which is dropped below: where two stores have this id, the engine may take the other store's video.
        answer, *_ = engine.search([query], SearchOptions((features,), top=NUM_NEIGHBOURS + 1))
    except (StoreError, PipelineError, EncoderError) as error:
        return Listing(features, problem=str(error))
    numbers = {shelf.view.place: shelf.number for shelf in library.shelves}
    items: list[Item] = []
    for hit in answer.hits:
        its = VideoKey(numbers[hit.store], hit.split, hit.row, hit.video_id)
        if its != key:
            items.append(Item(its, len(items) + 1, hit.score, hit.frames, hit.caption))
    return Listing(features, tuple(items[:NUM_NEIGHBOURS]), len(items), answer.num_candidates - 1, answer.encoder)


def _ranks(
    engine: SearchEngine, library: Library, key: VideoKey, features: str
) -> tuple[dict[str, tuple[int, float]], int]:
    """Caption id -> rank and score of its own video, and among how many.

    As `fda eval` counts them. It scores captions in blocks of hundreds, so that the last bits of a score may differ.
    """
    vectors = engine.index(library.shelves[key.store].view, features, key.split).vectors
    if key.video_id not in vectors.video_ids:
        return {}, len(vectors.video_ids)
    place = vectors.video_ids.index(key.video_id)
    captions = np.flatnonzero(vectors.truth == place)[:MAX_CAPTIONS]
    scores = vectors.text[captions] @ vectors.video.T
    own = scores[:, place]
    # Itself included, so that ranks begin at 1.
    ranks = (scores >= own[:, None]).sum(axis=1)
    pairs = zip(captions.tolist(), ranks.tolist(), own.tolist(), strict=True)
    return {vectors.caption_ids[caption]: (rank, score) for caption, rank, score in pairs}, len(vectors.video_ids)
