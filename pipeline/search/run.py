"""`fda search`, as one function."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike

from encoders.options import ModelSource
from pipeline.run.events import Listener, ignore_events
from pipeline.run.fields import check_kinds
from pipeline.run.files import check_writable
from pipeline.run.records import RunClock
from pipeline.search.answers import SearchResult
from pipeline.search.engine import SearchEngine
from pipeline.search.options import Query, SearchFiles, SearchOptions


def search(
    stores: str | PathLike[str] | Sequence[str | PathLike[str]],
    queries: str | Query | Sequence[str | Query],
    options: SearchOptions | None = None,
    files: SearchFiles | None = None,
    *,
    model: ModelSource | None = None,
    listener: Listener = ignore_events,
) -> SearchResult:
    """Find the videos, with their best moments, or the captions that are most like a text, a picture or a video.

    Args:
        stores: One or several; hits of stores with the same encoder are ranked together.
        queries: Texts, or `Query` for pictures and ids.
        options: Which features, how many hits, which candidates.
        files: The page to write. Default: none.
        model: What embeds texts and pictures. Default: what the run that made the features recorded.
        listener: Hears messages.

    Raises:
        NotInStoreError: There is no such feature set or split.
        InputError: A query cannot be embedded by the model that made the features, no video has such an id, or the page
            would lie in a store.
        FileExistsError: The page is there, and `files.overwrite` is false.
        FileNotFoundError: The folder of the page is not there.
    """
    clock, options, files = RunClock(), options or SearchOptions(), files or SearchFiles()
    check_kinds(options=(options, SearchOptions), files=(files, SearchFiles))
    places = [stores] if isinstance(stores, str | PathLike) else list(stores)
    asked = [queries] if isinstance(queries, str | Query) else list(queries)
    if files.page is not None:
        # Before the search, which may take minutes: a page that cannot be written is refused at once.
        check_writable(files.page, *places, overwrite=files.overwrite)
    engine = SearchEngine.open(places, model, listener)
    answers = engine.search([one if isinstance(one, Query) else Query(one) for one in asked], options)
    if files.page is not None:
        from pipeline.search.page import write_search_page  # OpenCV and Jinja, for those who want a page

        write_search_page(files.page, answers)
    return SearchResult(answers, clock.seconds, engine.report.warnings, files.page)
