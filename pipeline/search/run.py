"""`fda search`, as one function."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike

from encoders.options import ModelSource
from pipeline.run.events import Listener, ignore_events
from pipeline.run.fields import check_kinds
from pipeline.run.records import RunClock
from pipeline.search.answers import SearchResult
from pipeline.search.engine import SearchEngine
from pipeline.search.options import Query, SearchOptions


def search(
    stores: str | PathLike[str] | Sequence[str | PathLike[str]],
    queries: str | Query | Sequence[str | Query],
    options: SearchOptions | None = None,
    *,
    model: ModelSource | None = None,
    listener: Listener = ignore_events,
) -> SearchResult:
    """Find the videos, with their best moments, or the captions that are most like a text, a picture or a video.

    Args:
        stores: One or several; hits of stores with the same encoder are ranked together.
        queries: Texts, or `Query` for pictures and ids.
        options: Which features, how many hits, which candidates.
        model: What embeds texts and pictures. Default: what the run that made the features recorded.
        listener: Hears messages.

    Raises:
        NotInStoreError: There is no such feature set or split.
        InputError: A query cannot be embedded by the model that made the features, or no video has such an id.
    """
    clock, options = RunClock(), options or SearchOptions()
    check_kinds(options=(options, SearchOptions))
    places = [stores] if isinstance(stores, str | PathLike) else list(stores)
    asked = [queries] if isinstance(queries, str | Query) else list(queries)
    engine = SearchEngine.open(places, model, listener)
    answers = engine.search([one if isinstance(one, Query) else Query(one) for one in asked], options)
    return SearchResult(answers, clock.seconds, engine.report.warnings)
