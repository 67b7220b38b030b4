"""`fda serve`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

import fda
from cli.options.files import ExistingPath, Place
from cli.options.models import known_encoder_options
from cli.options.shared import add_options, seed_option, shared_options
from cli.output.printing import print_json, say
from cli.output.progress import say_event
from encoders.options import ModelSource
from pipeline.run.words import plural
from pipeline.serving.options import DEFAULT_PORT, ConversionOptions, ServeOptions

_CONVERSION = ConversionOptions()

_OPTIONS = (
    click.option(
        "--port",
        type=click.IntRange(0, 65535),
        default=DEFAULT_PORT,
        show_default=True,
        help="Port to listen at; 0: any that is free.",
    ),
    click.option(
        "--host",
        default=ServeOptions().host,
        show_default=True,
        help="Address to listen at. Any but this machine's own shows the videos to everybody who reaches it.",
    ),
    click.option(
        "--allow-host",
        "allowed_hosts",
        metavar="NAME",
        multiple=True,
        help="Name under which browsers may ask, besides this machine's own: that of a proxy, say. May be repeated.",
    ),
    click.option(
        "--videos",
        type=ExistingPath(file_okay=False),
        help="Folder of the videos, if they have moved.  [default: where `fda preprocess` found them]",
    ),
    click.option("--open", "open_browser", is_flag=True, help="Open the page in a browser."),
    click.option(
        "--cache",
        type=Place(path_type=Path),
        help="Folder for videos that had to be made playable.  [default: the user's cache]",
    ),
    click.option(
        "--cache-mib",
        type=click.IntRange(min=1),
        default=_CONVERSION.max_mib,
        show_default=True,
        help="Size of that folder, at most.",
    ),
)


def _serve_options(function: Callable[..., None]) -> Callable[..., None]:
    """Add the options, and hand them on as one value, `options`."""

    @functools.wraps(function)
    def with_options(*, cache: Path | None, cache_mib: int, **given: Any) -> None:
        names = ("port", "host", "allowed_hosts", "videos", "open_browser")
        conversion = ConversionOptions(folder=cache or _CONVERSION.folder, max_mib=cache_mib)
        options = ServeOptions(conversion=conversion, **{name: given.pop(name) for name in names})
        function(options=options, **given)

    return add_options(with_options, _OPTIONS)


@click.command("serve")
@click.argument("stores", metavar="STORE...", nargs=-1, required=True, type=Place(path_type=str))
@_serve_options
@known_encoder_options
@seed_option
@shared_options
def command(stores: tuple[str, ...], options: ServeOptions, model: ModelSource | None, as_json: bool) -> None:
    """Search STORE, or several, in a browser, and look at videos, frames and masks.

    It serves this machine alone, reads the stores and changes nothing in them, and fetches nothing from elsewhere.
    Queries in words need the model that made the features: it is loaded from where `fda encode` found it, unless
    --checkpoint, or --model and --pretrained, say otherwise. Ctrl-C ends it.
    """
    # Without a bar: it runs until Ctrl-C.
    result = fda.serve(stores, options, model=model, listener=say_event)
    say(f"fda serve has ended: {plural(result.num_requests, 'request')} answered, nothing was changed")
    if as_json:
        print_json(result.to_dict())
