"""Stores that are open for searching: many queries, exact answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from os import PathLike

import numpy as np
from numpy.typing import NDArray

from encoders.options import ModelSource
from pipeline.errors import InputError
from pipeline.evaluation.top_candidates import best_of
from pipeline.run.events import Listener, Reporter, ignore_events
from pipeline.search.answers import Answer, Hit, frame_scores
from pipeline.search.index import SplitIndex
from pipeline.search.options import By, Find, Query, QueryKind, SearchOptions
from pipeline.search.source import encoder_words, recorded_source
from store.view import StoreView, open_store

STORED = (QueryKind.VIDEO, QueryKind.CAPTION)
"""Kinds of queries whose vectors are in the store: they need no model."""


@dataclass
class SearchEngine:
    """What has been read stays in memory, so that every query after the first is quick."""

    views: tuple[StoreView, ...]
    model: ModelSource | None = None
    """What embeds queries; None: what the run that made the features recorded."""
    report: Reporter = field(default_factory=lambda: Reporter(ignore_events))
    _indices: dict[tuple[str, str, str], SplitIndex] = field(default_factory=dict)
    _encoders: dict[str, object] = field(default_factory=dict)

    @classmethod
    def open(
        cls,
        stores: Sequence[str | PathLike[str]],
        model: ModelSource | None = None,
        listener: Listener = ignore_events,
    ) -> SearchEngine:
        """Open stores; features are read by the first query that needs them.

        Raises:
            StoreMissingError: There is none.
        """
        return cls(tuple(open_store(store) for store in stores), model, Reporter(listener))

    def search(self, queries: Sequence[Query], options: SearchOptions) -> tuple[Answer, ...]:
        """Answer queries: for each query one answer a feature set.

        Raises:
            NotInStoreError: There is no such feature set, split, video or caption.
            InputError: A query cannot be embedded by the model that made the features.
        """
        names = options.features or self._only_features()
        return tuple(answer for name in names for answer in self._answers(queries, name, options))

    def index(self, view: StoreView, features: str, split: str) -> SplitIndex:
        """The index of a split, of which each part is read once."""
        key = (view.place, features, split)
        return self._indices.setdefault(key, SplitIndex(view, features, split))

    def _only_features(self) -> tuple[str, ...]:
        names = {name for view in self.views for split in view.splits for name in view.feature_names(split)}
        if len(names) != 1:
            there = ", ".join(map(repr, sorted(names))) or "none: `fda encode` makes them"
            raise InputError(f"which feature set is to be searched? There: {there}")
        return tuple(names)

    def _answers(self, queries: Sequence[Query], name: str, options: SearchOptions) -> list[Answer]:
        indices = [
            self.index(view, name, split)
            for view in self.views
            for split in view.splits
            if name in view.feature_names(split) and (not options.splits or split in options.splits)
        ]
        vectors = self._embedded(queries, name, indices)
        made_with = indices[0].vectors.attributes
        hits: list[list[Hit]] = [[] for _ in queries]
        num_candidates = 0
        for one in indices:
            found, count = _best(one, vectors, options)
            num_candidates += count
            for mine, new in zip(hits, found, strict=True):
                mine.extend(new)
        return [
            Answer(query, name, encoder_words(made_with), _ranked(mine, options.top), num_candidates)
            for query, mine in zip(queries, hits, strict=True)
        ]

    def _embedded(self, queries: Sequence[Query], name: str, indices: Sequence[SplitIndex]) -> NDArray[np.float32]:
        """Shape (num_queries, dim)."""
        to_embed = [query for query in queries if query.kind not in STORED]
        embedded = iter(self._encoder(name, indices[0]).embed(to_embed)) if to_embed else iter(())
        return np.stack([_stored(query, indices) if query.kind in STORED else next(embedded) for query in queries])

    def _encoder(self, name: str, index: SplitIndex):  # type: ignore[no-untyped-def]
        from pipeline.search.embedding import QueryEncoder  # torch, which queries by id do without

        if name not in self._encoders:
            source = self.model or recorded_source(index.view.store, name, index.split)
            made_with = dict(index.vectors.attributes)
            self._encoders[name] = QueryEncoder.load(source, made_with, name, self.report)
        return self._encoders[name]


def _stored(query: Query, indices: Sequence[SplitIndex]) -> NDArray[np.float32]:
    for index in indices:
        ids, rows = (
            (index.vectors.video_ids, index.vectors.video)
            if query.kind is QueryKind.VIDEO
            else (index.vectors.caption_ids, index.vectors.text)
        )
        if query.value in ids:
            return np.asarray(rows[ids.index(query.value)])
    raise InputError(f"no {query.kind} {query.value!r} with these features")


def _best(index: SplitIndex, queries: NDArray[np.float32], options: SearchOptions) -> tuple[list[list[Hit]], int]:
    """Hits of each query in one split, and how many candidates there were."""
    vectors, passed = index.vectors, index.candidates(options.filters)
    if options.find is Find.CAPTIONS:
        places = np.flatnonzero(passed[vectors.truth])
        scores = queries @ vectors.text[places].T
        videos = vectors.truth[places]
    else:
        places = videos = np.flatnonzero(passed)
        if options.by is By.FRAME:
            scores = np.nanmax(index.frames[places] @ queries.T, axis=1).T
        else:
            scores = queries @ vectors.video[places].T
    if not len(places):
        return [[] for _ in queries], 0
    best, values = best_of(np.ascontiguousarray(scores, np.float32), options.top)
    is_caption = options.find is Find.CAPTIONS
    return [
        [
            _hit(index, int(videos[place]), float(value), query, int(places[place]) if is_caption else None)
            for place, value in zip(row, its, strict=True)
        ]
        for row, its, query in zip(best, values, queries, strict=True)
    ], len(places)


def _hit(index: SplitIndex, video: int, score: float, query: NDArray[np.float32], caption: int | None) -> Hit:
    vectors = index.vectors
    return Hit(
        rank=0,
        score=score,
        store=index.view.place,
        features=index.features,
        split=index.split,
        video_id=vectors.video_ids[video],
        row=int(index.rows[video]),
        frames=frame_scores((index.frames[video] @ query).tolist(), index.pts_seconds[video].tolist()),
        caption_id=None if caption is None else vectors.caption_ids[caption],
        caption=index.first_captions.get(video) if caption is None else index.captions[caption],
    )


def _ranked(hits: list[Hit], top: int) -> tuple[Hit, ...]:
    from dataclasses import replace

    best = sorted(hits, key=lambda hit: -hit.score)[:top]
    return tuple(replace(hit, rank=rank) for rank, hit in enumerate(best, 1))
