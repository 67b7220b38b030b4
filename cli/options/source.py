"""The flags that say how `fda preprocess` reads a data set: `SourceOptions`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import click

from cli.options.files import ExistingPath, Place
from cli.options.shared import add_options
from pipeline.datasets.layouts.msrvtt import PROTOCOL_SPLITS
from pipeline.datasets.options import AUTO, SourceOptions
from pipeline.datasets.read import LAYOUTS
from pipeline.datasets.splitting import EXAMPLE, parse_shares


def _parse_shares(ctx: click.Context, param: click.Parameter, value: str | None) -> dict[str, float] | None:
    try:
        return None if value is None else parse_shares(value)
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param) from error


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
        type=ExistingPath(file_okay=False),
        help="Folder of the videos; no path of SOURCE may leave it.  [default: that of SOURCE, or that of its absolute "
        "paths]",
    ),
    click.option("--id-key", metavar="KEY", help="Key or column of a video's id in jsonl or csv.  [default: video_id]"),
    click.option("--path-key", metavar="KEY", help="Key or column of a video's path.  [default: path]"),
    click.option(
        "--caption-key",
        metavar="KEY",
        help="Key or column of a video's captions.  [default: captions in jsonl, caption in csv]",
    ),
    click.option(
        "--protocol-split",
        type=click.Choice(list(PROTOCOL_SPLITS)),
        help="Published splits of msrvtt to use.  [default: the only ones whose files are present]",
    ),
    click.option(
        "--extract-to",
        type=Place(file_okay=False, path_type=Path),
        help="Extract the videos of video2dataset's tars into this folder, and decode them there.",
    ),
    click.option(
        "--paragraphs", is_flag=True, help="Join all captions of a video into one text: a query is then a paragraph."
    ),
    click.option(
        "--split-by-hash",
        metavar="SPLIT=SHARE,...",
        callback=_parse_shares,
        help=f"Split a data set without splits, such as {EXAMPLE}. The hash of a video's id decides: no video "
        "changes its split when others are added, and clips of one source stay together.",
    ),
    click.option("--require-captions", is_flag=True, help="Refuse SOURCE if a video has no caption."),
    click.option(
        "--strict",
        is_flag=True,
        help="Refuse SOURCE if something in it looks like a mistake, such as an unknown key.  [default: warn]",
    ),
)


def source_options(function: Callable[..., None]) -> Callable[..., None]:
    """Add the flags that make up `SourceOptions`, and hand them on as that one value, `how`."""

    @functools.wraps(function)
    def with_options(**given: Any) -> None:
        # Every field has a flag of its name.
        how = SourceOptions(**{one.name: given.pop(one.name) for one in fields(SourceOptions)})
        function(how=how, **given)

    return add_options(with_options, _OPTIONS)
