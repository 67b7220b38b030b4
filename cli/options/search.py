"""The flags that say what is searched for, and among which videos: queries and `SearchOptions`."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from typing import IO, Any

import click

from cli.options.names import complete_features, complete_splits
from cli.options.shared import Function, add_options
from pipeline.errors import InputError
from pipeline.search.options import By, Filters, Find, Query, QueryKind, SearchOptions
from store.remedies import install_extra

MAX_QUERIES_BYTES = 2**24
"""Of a file of queries."""


class Range(click.ParamType[tuple[float, float]]):
    """Two numbers, the lower one first, of which one may be left out: `10-30`, `10-`, `-30`; shares: `5%-50%`."""

    name = "LOW-HIGH"

    def __init__(self, *, is_share: bool = False) -> None:
        """Take numbers from 0 on, or shares of a whole, in percent or from 0 to 1."""
        self._is_share = is_share

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, float]:
        """Return them.

        >>> Range().convert("10-", None, None), Range(is_share=True).convert("5%-", None, None)
        ((10.0, inf), (0.05, 1.0))
        """
        if isinstance(value, tuple):  # click converts a second time
            return value
        example, most = ("5%-50%", 1.0) if self._is_share else ("10-30 or 10-", float("inf"))
        found = re.fullmatch(r"\s*(?:([0-9.]+)\s*(%?))?\s*-\s*(?:([0-9.]+)\s*(%?))?\s*", str(value))
        try:
            if found is None or not (found[1] or found[3]) or (not self._is_share and (found[2] or found[4])):
                raise ValueError
            low, high = (
                float(number) / (100 if percent else 1) if number else default
                for number, percent, default in ((found[1], found[2], 0.0), (found[3], found[4], most))
            )
        except ValueError:
            self.fail(f"{value!r} is no range such as {example}", param, ctx)
        if low > high:
            self.fail(f"{value!r} goes from the lowest to the highest value", param, ctx)
        if high > most:
            self.fail(f"{value!r} is more than the whole picture: write {example}", param, ctx)
        return low, high


class _Lines(click.File):
    """A file to read, or stdin; like a missing store, one that is not there ends the command with exit code 1."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> IO[Any]:
        """Open it.

        Raises:
            InputError: It cannot be read.
        """
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter as error:
            raise InputError(f"--queries: {error.message}") from error


_OPTIONS = (
    click.option("--also", multiple=True, metavar="STORE", help="Search this store too; may be repeated."),
    click.option("--image", "image", multiple=True, metavar="FILE", help="Search for what looks like this picture."),
    click.option("--video", "video", multiple=True, metavar="ID", help="Search for more like this video of the store."),
    click.option("--caption", "caption", multiple=True, metavar="ID", help="Search for this caption of the store."),
    click.option(
        "--queries",
        "files",
        multiple=True,
        type=_Lines(encoding="utf-8", errors="replace"),
        metavar="FILE",
        help="Search for each line of a file; - is stdin.",
    ),
    click.option(
        "--features",
        multiple=True,
        shell_complete=complete_features,
        metavar="NAME",
        help="Feature set to search; may be repeated: each has its own answer.  [default: the only one]",
    ),
    click.option(
        "--split",
        "splits",
        multiple=True,
        shell_complete=complete_splits,
        help="Search this split; may be repeated.  [default: all]",
    ),
    click.option("--captions", "for_captions", is_flag=True, help="Find captions instead of videos."),
    click.option(
        "--by",
        type=click.Choice([str(by) for by in By]),
        default=str(By.VIDEO),
        show_default=True,
        help="Compare with the whole clip, or with its best frame: what is only seen for a moment.",
    ),
    click.option("--top", type=int, default=10, show_default=True, metavar="N", help="Number of hits, at most."),
    click.option("--category", "categories", multiple=True, help="Only videos of this category; may be repeated."),
    click.option(
        "--motion", type=Range(is_share=True), help="Only videos whose masks cover this share of the picture: 5%-50%."
    ),
    click.option("--duration", type=Range(), help="Only videos that last this long, in seconds: 10-30."),
    click.option(
        "--approximate",
        is_flag=True,
        help="Keep 8-bit copies in memory, a quarter of the exact vectors: for millions of videos. Needs usearch: "
        f"{install_extra('usearch')}.",
    ),
    click.option("--camera", type=click.Choice(["moves", "rests"]), help="Only videos whose camera moves, or rests."),
)


def search_options(function: Function) -> Callable[..., None]:
    """Add all of these, and hand them on as `queries`, `options` and `also`."""

    @functools.wraps(function)
    def with_options(
        *,
        texts: Sequence[str],
        files: Sequence[IO[str]],
        splits: Sequence[str],
        for_captions: bool,
        by: str,
        **others: Any,
    ) -> None:
        camera = others.pop("camera")
        filters = Filters(
            categories=others.pop("categories"),
            motion=others.pop("motion"),
            duration_seconds=others.pop("duration"),
            camera_moves=None if camera is None else camera == "moves",
        )
        options = SearchOptions(
            features=others.pop("features"),
            splits=tuple(splits),
            find=Find.CAPTIONS if for_captions else Find.VIDEOS,
            by=By(by),
            top=others.pop("top"),
            filters=filters,
            approximate=others.pop("approximate"),
        )
        # Texts first, then pictures and ids: the order of the answers, as click does not keep that of the flags.
        queries = [Query(text) for text in (*texts, *(line for file in files for line in _lines(file)))]
        for kind in (QueryKind.IMAGE, QueryKind.VIDEO, QueryKind.CAPTION):
            queries += [Query(value, kind) for value in others.pop(str(kind))]
        if not queries:
            raise click.UsageError("give a query: a text, --image FILE, --video ID or --caption ID")
        function(queries=queries, options=options, **others)

    return add_options(with_options, _OPTIONS)


def _lines(file: IO[str]) -> list[str]:
    """The queries of a file: its lines that are not blank.

    Raises:
        InputError: It is far larger than queries are.
    """
    content = file.read(MAX_QUERIES_BYTES + 1)
    if len(content) > MAX_QUERIES_BYTES:
        raise InputError(f"{file.name} has more than {MAX_QUERIES_BYTES / 2**20:.0f} MiB of queries: split it")
    # At line feeds alone: `splitlines` would also cut at separators inside a caption, such as U+2028.
    return [line.strip() for line in content.removeprefix("\ufeff").split("\n") if line.strip()]
