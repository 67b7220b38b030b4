"""The flags that say how `fda preprocess` reads a data set: `SourceOptions`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import click

from pipeline.datasets.layouts.msrvtt import PROTOCOL_SPLITS
from pipeline.datasets.options import AUTO, SourceOptions
from pipeline.datasets.read import LAYOUTS

_OPTIONS = (
    click.option(
        "--dataset",
        "layout",
        type=click.Choice([AUTO, *LAYOUTS]),
        default=AUTO,
        show_default=True,
        help="Layout of SOURCE; auto detects it by the names of its files, and prints why.",
    ),
    click.option(
        "--videos",
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        help="Folder of the videos.  [default: that of SOURCE]",
    ),
    click.option("--path-key", metavar="KEY", help="Key of a video's path in jsonl.  [default: path]"),
    click.option(
        "--protocol-split",
        type=click.Choice(list(PROTOCOL_SPLITS)),
        help="Published splits of msrvtt to use.  [default: the only ones whose files are present]",
    ),
    click.option(
        "--extract-to",
        type=click.Path(file_okay=False, path_type=Path),
        help="Extract the videos of video2dataset's tars into this folder, and decode them there.",
    ),
    click.option(
        "--paragraphs", is_flag=True, help="Join all captions of a video into one text: a query is then a paragraph."
    ),
)


def source_options(function: Callable[..., None]) -> Callable[..., None]:
    """Add the flags that make up `SourceOptions`, and hand them on as that one value, `how`."""

    @functools.wraps(function)
    def with_options(
        *,
        layout: str,
        videos: Path | None,
        path_key: str | None,
        protocol_split: str | None,
        extract_to: Path | None,
        paragraphs: bool,
        **others: object,
    ) -> None:
        how = SourceOptions(layout, videos, path_key, protocol_split, extract_to, paragraphs)
        function(how=how, **others)

    for option in reversed(_OPTIONS):
        with_options = option(with_options)
    return with_options
