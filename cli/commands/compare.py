"""`fda compare`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import click

import fda
from cli.options.retrieval import interval_options, protocol_options
from cli.options.shared import shared_options
from cli.output.printing import print_json, say, show
from cli.output.progress import progress_listener
from pipeline.evaluation.options import BootstrapOptions, CompareOptions, check_names
from pipeline.evaluation.protocols import Ties

_DEFAULTS = CompareOptions()


def _checked(ctx: click.Context, param: click.Parameter, value: Sequence[str]) -> Sequence[str]:
    try:
        check_names(value)
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param) from error
    return value


@click.command("compare")
@click.argument("store_place", metavar="STORE", type=click.Path(path_type=str))
@click.argument("names", metavar="N1 N2 ...", nargs=-1, required=True, callback=_checked)
@click.option("--split", default="test", show_default=True, help="Which split.")
@protocol_options
@interval_options
@click.option(
    "--permutations",
    type=click.IntRange(min=100),
    default=_DEFAULTS.num_permutations,
    show_default=True,
    help="How often the sets change places, for some videos, to see what chance gives.",
)
@click.option(
    "--top",
    type=click.IntRange(min=0),
    default=_DEFAULTS.num_moved,
    show_default=True,
    help="Name so many queries that rose most, and that fell most.",
)
@shared_options
def command(
    store_place: str,
    names: Sequence[str],
    split: str,
    protocol: str,
    ties: str | None,
    level: float,
    resamples: int,
    seed: int,
    permutations: int,
    max_missing: Callable[[int], float],
    top: int,
    as_json: bool,
    progress: bool | None,
) -> None:
    """Feature sets side by side, and each against the first: N2 less N1, with intervals and p-values.

    Compared are the videos that all sets have. An interval says how far a number moves with other videos: resamples
    draw videos with all their captions, the same ones for all sets. A p-value says how often a difference as large, in
    either direction, comes when the sets change places at random, video by video. R@k in percent.
    """
    from cli.output.comparison import comparison_notes, print_comparison  # NumPy, which --help does without
    from pipeline.evaluation.comparing.report import comparison_dict

    num_videos = fda.open_store(store_place).num_videos_expected(split)
    options = CompareOptions(
        split=split,
        max_missing=max_missing(num_videos) / num_videos,
        protocol=protocol,
        ties=None if ties is None else Ties(ties),
        bootstrap=BootstrapOptions(level, resamples, seed),
        num_permutations=permutations,
        num_moved=top,
    )
    with progress_listener("compare", progress) as listener:
        result = fda.compare(store_place, names, options, listener=listener)
    for note in comparison_notes(result):
        (say if as_json else show)(note)
    print_json(comparison_dict(result)) if as_json else print_comparison(result)
