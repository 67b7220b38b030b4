"""`fda compare`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import click

import fda
from cli.options.files import Place
from cli.options.names import complete_features, complete_splits
from cli.options.retrieval import interval_options, protocol_options
from cli.options.shared import add_options, progress_option, shared_options
from cli.output.printing import print_json, say, show
from cli.output.progress import SECONDS_BEFORE_A_BAR, progress_listener
from pipeline.evaluation.options import BootstrapOptions, CompareOptions, check_names
from pipeline.evaluation.protocols import Ties
from pipeline.run.limits import Limit

_DEFAULTS = CompareOptions()


def _checked(ctx: click.Context, param: click.Parameter, value: Sequence[str]) -> Sequence[str]:
    try:
        check_names(value)
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param) from error
    return value


_OPTIONS = (
    click.option(
        "--split", shell_complete=complete_splits, default=_DEFAULTS.split, show_default=True, help="Which split."
    ),
    protocol_options,
    interval_options,
    click.option(
        "--permutations",
        type=click.IntRange(min=100),
        default=_DEFAULTS.num_permutations,
        show_default=True,
        help="Number of random swaps of the sets, video by video, for the p-values.",
    ),
    click.option(
        "--top",
        type=click.IntRange(min=0),
        default=_DEFAULTS.num_moved,
        show_default=True,
        help="Show the N most improved and the N most worsened queries.",
    ),
)


def _compare_options(function: Callable[..., None]) -> Callable[..., None]:
    """Add the flags that make up `CompareOptions`, and hand them on as that one value."""

    @functools.wraps(function)
    def with_options(*, split: str, max_missing: Limit, ties: str | None, **others: Any) -> None:
        options = CompareOptions(
            split=split,
            max_missing=max_missing,
            protocol=others.pop("protocol"),
            ties=None if ties is None else Ties(ties),
            bootstrap=BootstrapOptions(others.pop("level"), others.pop("resamples"), others.pop("seed")),
            num_permutations=others.pop("permutations"),
            num_moved=others.pop("top"),
        )
        function(options=options, **others)

    return add_options(with_options, _OPTIONS)


@click.command("compare")
@click.argument("store_place", metavar="STORE", type=Place(path_type=str))
@click.argument(
    "names", metavar="N1 N2 ...", nargs=-1, required=True, callback=_checked, shell_complete=complete_features
)
@_compare_options
@progress_option
@shared_options
def command(
    store_place: str,
    names: Sequence[str],
    options: CompareOptions,
    as_json: bool,
    progress: bool,
) -> None:
    """Feature sets side by side, and each against the first: N2 minus N1, with intervals and p-values.

    Only videos that all sets have are compared. Intervals are bootstrapped over videos with all their captions, the
    same ones for all sets. A p-value is the share of random swaps of the sets, video by video, that give a difference
    as large in either direction. R@k in percent.
    """
    from cli.output.comparison import comparison_notes, print_comparison  # NumPy, which --help does without

    with progress_listener("compare", progress, after_seconds=SECONDS_BEFORE_A_BAR) as listener:
        result = fda.compare(store_place, names, options, listener=listener)
    for note in comparison_notes(result):
        # With --json, stdout has the JSON alone.
        (say if as_json else show)(note)
    print_json(result.to_dict()) if as_json else print_comparison(result)
