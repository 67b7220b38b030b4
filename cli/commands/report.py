"""`fda report`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

import fda
from cli.options.files import ExistingPath, NewFile, Place
from cli.options.names import complete_features, complete_splits
from cli.options.shared import add_options, progress_option, shared_options
from cli.output.printing import print_json, say, show
from cli.output.progress import SECONDS_BEFORE_A_BAR, progress_listener
from pipeline.evaluation.protocols import PROTOCOLS
from pipeline.reporting.options import ReportOptions
from pipeline.run.words import plural

_OPTIONS = (
    click.option(
        "-o",
        "--output",
        type=NewFile(".html", ".htm"),
        metavar="FILE.html",
        help="The page to write.  [default: report.html]",
        default="report.html",
    ),
    click.option("--title", help="Title of the page.  [default: the name of the data set]"),
    click.option(
        "--split",
        "splits",
        multiple=True,
        shell_complete=complete_splits,
        help="Score this split; may be repeated.  [default: all with features but for `train`]",
    ),
    click.option(
        "--features",
        "features",
        multiple=True,
        metavar="NAME",
        shell_complete=complete_features,
        help="Score this feature set; may be repeated, and others are compared with the first.  [default: all]",
    ),
    click.option(
        "--protocol",
        type=click.Choice(list(PROTOCOLS)),
        default=ReportOptions().protocol,
        show_default=True,
        help="How ranks are counted: see `fda eval --help`.",
    ),
    click.option(
        "--thumbnails/--no-thumbnails",
        default=True,
        show_default=True,
        help="Show frames of videos. Without them, the page has less than 2 MB; with them, less than 5 MB.",
    ),
    click.option(
        "--experiments",
        type=ExistingPath(file_okay=False),
        metavar="FOLDER",
        help="Show the experiments in this folder, see `fda experiment`.  [default: those that lie beside STORE]",
    ),
    click.option("--overwrite", is_flag=True, help="Replace the page, if there is one."),
)


def _report_options(function: Callable[..., None]) -> Callable[..., None]:
    """Add the flags that make up `ReportOptions`, and hand them on as that one value."""

    @functools.wraps(function)
    def with_options(*, splits: Sequence[str], features: Sequence[str], **others: Any) -> None:
        names = ("title", "protocol", "thumbnails", "experiments", "overwrite")
        options = ReportOptions(
            splits=tuple(splits), features=tuple(features), **{name: others.pop(name) for name in names}
        )
        function(options=options, **others)

    return add_options(with_options, _OPTIONS)


@click.command("report")
@click.argument("store_place", metavar="STORE", type=Place(path_type=str))
@_report_options
@progress_option
@shared_options
def command(store_place: str, output: Path, options: ReportOptions, as_json: bool, progress: bool) -> None:
    """Write one HTML file about STORE, to share: nothing else is needed to read it.

    It has what is in the store and how it was made, failed videos, masks, every feature set with confidence intervals,
    their comparison and slices, example retrievals, videos that splits share, speeds, versions, and the commands that
    reproduce it. The page names what is missing or damaged. The store is read, and not changed.
    """
    with progress_listener("report", progress, after_seconds=SECONDS_BEFORE_A_BAR) as listener:
        result = fda.report(store_place, output, options, listener=listener)
    if as_json:
        print_json(result.to_dict())
        return
    if result.warnings:
        say(f"{plural(len(result.warnings), 'warning')}, which the page has too")
    show(
        f"{result.page}: {result.num_bytes / 1e6:.1f} MB, {plural(len(result.sections), 'section')}, "
        f"{plural(result.num_sets_scored, 'feature set')} scored, in {result.seconds:.1f} s"
    )
