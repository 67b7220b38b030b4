"""Stores that are open for searching: many queries, exact answers."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from os import PathLike
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from encoders.errors import EncoderError
from encoders.options import ModelSource
from pipeline.errors import InputError
from pipeline.features.remarks import resized_to, stored_size
from pipeline.run.events import Listener, Reporter, ignore_events
from pipeline.run.words import listed
from pipeline.search.answers import Answer
from pipeline.search.coarse import usearch_here
from pipeline.search.filters import check_categories
from pipeline.search.hits import Found, hits_of
from pipeline.search.index import SplitIndex
from pipeline.search.known import Known, find_known, unknown
from pipeline.search.options import By, Filters, Find, Query, QueryKind, SearchOptions
from pipeline.search.scan import Best, BestFrames, Vectors, best
from pipeline.search.source import encoder_words, recorded_source, same_space
from store.errors import NotInStoreError, ShardIncompleteError, ShardRebuiltError
from store.view import StoreView, open_store

if TYPE_CHECKING:
    from pipeline.search.embedding import QueryEncoder

STORED = (QueryKind.VIDEO, QueryKind.CAPTION)
"""Kinds of queries whose vectors are in the store: they need no model."""
BY_ID = "search by --video or --caption"
"""What works without a model, for messages."""


@dataclass
class SearchEngine:
    """What has been read stays in memory, so that every query after the first is quick. Threads may share an engine."""

    views: tuple[StoreView, ...]
    model: ModelSource | None = None
    """What embeds queries; None: what the run that made the features recorded."""
    report: Reporter = field(default_factory=lambda: Reporter(ignore_events))
    _indices: dict[tuple[str, str, str], SplitIndex] = field(default_factory=dict)
    _encoders: dict[object, QueryEncoder] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    """Of the encoders: one at a time is loaded, and embeds."""
    _opened: threading.RLock = field(default_factory=threading.RLock)
    """Of `views` and `_indices`, which change together."""

    @classmethod
    def open(
        cls,
        stores: Sequence[str | PathLike[str]],
        model: ModelSource | None = None,
        listener: Listener = ignore_events,
    ) -> SearchEngine:
        """Open stores; features are read by the first query that needs them. A store that is given twice counts once.

        Raises:
            InputError: None is given.
            StoreMissingError: There is none at a place.
        """
        report = Reporter(listener)
        views: dict[str, StoreView] = {}
        for store in stores:
            view = open_store(store)
            place = os.path.realpath(view.place) if view.store.folder.is_local else view.place
            if place in views:
                report.warn(f"{view.place} is given twice, and searched once")
            views.setdefault(place, view)
        if not views:
            raise InputError("no store to search: give one or several")
        return cls(tuple(views.values()), model, report)

    def search(self, queries: Sequence[Query], options: SearchOptions) -> tuple[Answer, ...]:
        """Answer queries: for each query one answer a feature set, and one more for each other encoder in other stores.

        Raises:
            NotInStoreError: There is no such feature set, split, video or caption.
            ShardIncompleteError: Features are pending or out of date, or were rebuilt since they were read.
            InputError: A query cannot be embedded by the model that made the features.
        """
        if options.approximate:
            usearch_here()  # before gigabytes are read
        # Another thread may reopen the stores meanwhile: `_forget` compares with those of this query.
        views = self.views
        names = dict.fromkeys(options.features) or self._only_features()
        groups = [group for name in names for group in self._groups(name)]
        chosen = [tuple(one for one in group if not options.splits or one.split in options.splits) for group in groups]
        self._check_splits(options, chosen)
        check_categories(self.views, options.filters)
        answers: list[list[Answer]] = [[] for _ in queries]
        try:
            for group, searched in zip(groups, chosen, strict=True):
                for number, answer in self._answers(queries, group, searched, options):
                    answers[number].append(answer)
        except ShardIncompleteError as error:
            # Features that are merely pending stay pending: to reopen the stores would only throw away what was read.
            if isinstance(error, ShardRebuiltError) or _have_grown(views):
                self._forget(views)  # the next query reads everything again
            raise
        for query, its in zip(queries, answers, strict=True):
            if not its:
                raise unknown(query, views, groups, chosen)
        return tuple(answer for its in answers for answer in its)

    def index(self, view: StoreView, features: str, split: str) -> SplitIndex:
        """The index of a split, of which each part is read once."""
        # No vector is read here: `SplitIndex` reads when it is asked.
        key = (view.place, features, split)
        with self._opened:
            return self._indices.setdefault(key, SplitIndex(view, features, split, self.report.hear))

    def _forget(self, views: tuple[StoreView, ...]) -> None:
        """Forget what was read of these views, unless another thread has done so."""
        # Outside the lock: a store far away takes seconds to open.
        reopened = tuple(open_store(view.place) for view in views)
        with self._opened:
            # Only once: of several queries that failed on the same views, the first one brings new ones.
            if self.views is views:
                self.views, self._indices = reopened, {}

    def _only_features(self) -> tuple[str, ...]:
        names = {name for view in self.views for split in view.splits for name in view.feature_names(split)}
        if len(names) != 1:
            places = listed([view.place for view in self.views])
            if not names:
                raise InputError(f"nothing to search by in {places}: there are no features, `fda encode` makes them")
            raise InputError(f"which features are to be searched? In {places} there are {listed(sorted(names))}")
        return tuple(names)

    def _groups(self, name: str) -> list[tuple[SplitIndex, ...]]:
        """The splits that have features of a name, those together whose vectors can be compared."""
        groups: dict[object, list[SplitIndex]] = {}
        with self._opened:
            # The lock is held over both lines, so that no index is made of a view that was just forgotten; `index`
            # takes it again.
            there = [(view, split) for view in self.views for split in view.splits if name in view.feature_names(split)]
            indices = [self.index(view, name, split) for view, split in there]
        for index in indices:
            groups.setdefault(same_space(index.made_with, index.view.place), []).append(index)
        if not groups:
            names = sorted({one for view in self.views for split in view.splits for one in view.feature_names(split)})
            raise NotInStoreError(
                f"no features {name!r} in {listed([view.place for view in self.views])} (there: "
                f"{listed([repr(one) for one in names])}). `fda encode` makes them"
            )
        return [tuple(group) for group in groups.values()]

    def _check_splits(self, options: SearchOptions, chosen: Sequence[Sequence[SplitIndex]]) -> None:
        known = {index.split for group in chosen for index in group}
        for split in options.splits:
            if split not in known:
                there = sorted({name for view in self.views for name in view.splits})
                raise NotInStoreError(
                    f"no split {split!r} with these features in {listed([view.place for view in self.views])}: the "
                    f"splits there are {listed([repr(one) for one in there])}"
                )

    def _answers(
        self,
        queries: Sequence[Query],
        group: Sequence[SplitIndex],
        searched: Sequence[SplitIndex],
        options: SearchOptions,
    ) -> list[tuple[int, Answer]]:
        """The answers to those queries that can be asked here, each with the query's number."""
        if options.approximate:  # before anything else asks for the exact vectors, of which all would be read
            for index in searched:
                _ = index.vectors.coarse
        known = {number: find_known(query, group) for number, query in enumerate(queries) if query.kind in STORED}
        asked = [number for number in range(len(queries)) if number not in known or known[number] is not None]
        if not asked or not searched:
            return []
        vectors = self._vectors([queries[number] for number in asked], [known.get(number) for number in asked], group)
        selves = [known.get(number) for number in asked]
        found, num_candidates = _search(searched, vectors, selves, options)
        if options.filters != Filters() and not any(num_candidates):
            self.report.warn(
                "no video passes the filters: one whose masks, duration or camera motion were not measured passes none"
            )
        hits = hits_of(found, vectors, options)
        words = encoder_words(group[0].made_with)
        stores = tuple(dict.fromkeys(index.view.place for index in searched))
        return [
            (number, Answer(queries[number], group[0].features, words, its, count, stores))
            for number, its, count in zip(asked, hits, num_candidates, strict=True)
        ]

    def _vectors(
        self, queries: Sequence[Query], known: Sequence[Known | None], group: Sequence[SplitIndex]
    ) -> NDArray[np.float32]:
        """Queries as vectors: shape (num_queries, dim)."""
        # All in one batch, and none if every query is an id: then no model is loaded.
        to_embed = [query for query, its in zip(queries, known, strict=True) if its is None]
        embedded = iter(self._embedded(to_embed, group[0])) if to_embed else iter(())
        return np.stack([next(embedded) if its is None else its.vector for its in known])

    def _loaded(self, index: SplitIndex) -> QueryEncoder:
        from pipeline.search.embedding import QueryEncoder  # torch, which queries by id do without

        source = self.model or recorded_source(index.view.store, index.features, index.split, BY_ID)
        try:
            return QueryEncoder.load(source, index.made_with, index.features, self.report)
        except EncoderError as error:
            # The user chose that model: its error says what to do about it.
            if self.model is not None:
                raise
            raise InputError(
                f"the model that made features {index.features!r} cannot be loaded from where it was ({error}): give "
                f"--checkpoint, or --model and --pretrained, or {BY_ID}, which need no model"
            ) from error

    def _embedded(self, queries: Sequence[Query], index: SplitIndex) -> NDArray[np.float32]:
        from pipeline.search.pictures import read_picture

        # Everything on which a query's vector depends: feature sets that agree in this share one loaded model.
        key = (
            same_space(index.made_with, index.view.place),
            index.made_with.get("max_words"),
            resized_to(index.made_with),
            stored_size(index.made_with),
        )
        with self._lock:
            if key not in self._encoders:
                for query in queries:  # errors are reported before the seconds that a model takes to load
                    if query.kind is QueryKind.IMAGE:
                        read_picture(query.value, size=1)
                self._encoders[key] = self._loaded(index)
            return self._encoders[key].embed(queries, self.report)


def _have_grown(views: Sequence[StoreView]) -> bool:
    """Whether a store has got other videos or captions since it was opened."""
    return any(open_store(view.place).store.manifest != view.store.manifest for view in views)


def _search(
    searched: Sequence[SplitIndex],
    vectors: NDArray[np.float32],
    selves: Sequence[Known | None],
    options: SearchOptions,
) -> tuple[list[list[Found]], list[int]]:
    """The best of each query over all splits, and how many were compared."""
    found: list[list[Found]] = [[] for _ in vectors]
    counts = [0] * len(vectors)
    for index in searched:
        excluded = [None if its is None else its.place_in(index, options.find) for its in selves]
        # A video is most like itself: it is among the hits and dropped below, so that one more is needed.
        top = options.top + any(place is not None for place in excluded)
        passed = index.candidates(options.filters)
        if options.approximate:
            bests = [_likeliest(index, query, passed, top) for query in vectors]
        elif options.find is Find.CAPTIONS:
            # (num_videos,) -> (num_captions,): a caption passes with its video.
            passed = passed[index.vectors.truth]
            bests = best(Vectors(index.vectors.text), vectors, passed, top)
        elif options.by is By.FRAME:
            bests = best(BestFrames(index.stored_frames, index.frame_norms), vectors, passed, top)
        else:
            bests = best(Vectors(index.vectors.video), vectors, passed, top)
        # Other queries of the batch have one more hit than asked for; `ranked` cuts all to `options.top`.
        for number, (its, place) in enumerate(zip(bests, excluded, strict=True)):
            counts[number] += int(passed.sum()) - int(place is not None and bool(passed[place]))
            found[number] += [
                Found(index, int(item), float(score))
                for item, score in zip(its.items, its.scores, strict=True)
                if item != place
            ]
    ranked = [sorted(its, key=lambda one: -one.score)[: options.top] for its in found]  # stable: ties keep their order
    return ranked, counts


def _likeliest(index: SplitIndex, query: NDArray[np.float32], passed: NDArray[np.bool_], top: int) -> Best:
    """The best of those that are likely to be, by their exact vectors."""
    places = index.vectors.coarse.likeliest(query, passed, top)
    (found,) = best(Vectors(index.videos_of(places)), query[None], np.ones(len(places), np.bool_), top)
    return Best(places[found.items], found.scores)
