"""`fda search`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

import fda
from cli.options.files import NewFile, Place
from cli.options.models import known_encoder_options
from cli.options.search import search_options
from cli.options.shared import progress_option, seed_option, shared_options
from cli.output.printing import print_json, say
from cli.output.progress import SECONDS_BEFORE_A_BAR, progress_listener
from encoders.options import ModelSource
from pipeline.search.options import Query, QueryKind, SearchFiles, SearchOptions


@click.command("search")
@click.argument("store_place", metavar="STORE", type=Place(path_type=str))
@click.argument("texts", metavar="[QUERY]...", nargs=-1)
@search_options
@click.option(
    "--html", type=NewFile(".html", ".htm"), metavar="FILE.html", help="Write the hits as a page with their frames."
)
@click.option("--overwrite", is_flag=True, help="Replace the page of --html.")
@known_encoder_options
@seed_option
@progress_option
@shared_options
def command(
    store_place: str,
    also: Sequence[str],
    queries: Sequence[Query],
    options: SearchOptions,
    html: Path | None,
    overwrite: bool,
    model: ModelSource | None,
    as_json: bool,
    progress: bool,
) -> None:
    """Find the videos of STORE that are most like a text, with the moment that is most like it.

    \b
    fda search STORE "a dog runs" "a red star is moving"
    fda search STORE --video video7 --split test
    fda search STORE --image photo.jpg --by frame --html found.html

    Every video is compared: the answer is exact. The model that embeds a text or a picture is the one that made the
    features; other weights are refused. Queries by --video and --caption need no model.
    """
    from cli.output.search import print_answers  # NumPy, which --help does without

    if overwrite and html is None:
        raise click.UsageError("--overwrite is for the page of --html")
    files = SearchFiles(html, overwrite)
    if model is not None and not any(query.kind in (QueryKind.TEXT, QueryKind.IMAGE) for query in queries):
        # Told, not refused: the flags may come from a --config file.
        say("no model is needed: queries by --video and --caption take vectors of the store")
    with progress_listener("search", progress, after_seconds=SECONDS_BEFORE_A_BAR) as listener:
        result = fda.search([store_place, *also], queries, options, files, model=model, listener=listener)
    if result.page is not None:
        say(f"page: {result.page}")
    print_json(result.to_dict()) if as_json else print_answers(result, options.find)
