"""`fda compare`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict

import click

from cli.options.retrieval import interval_options, protocol_options
from cli.options.shared import shared_options
from cli.output.eval_report import protocol_words
from cli.output.printing import plural, print_json, print_table, say, show
from cli.output.progress import progress_listener
from pipeline.evaluation.comparing.compare import (
    AgainstFirst,
    Comparison,
    Difference,
    DirectionCompared,
    ScoredSet,
    compare,
)
from pipeline.evaluation.comparing.rank_changes import RankChange
from pipeline.evaluation.names import DIRECTIONS, METRICS
from pipeline.evaluation.options import BootstrapOptions, CompareOptions, check_names
from pipeline.evaluation.protocols import Ties
from pipeline.evaluation.statistics.intervals import Interval
from store.features import num_videos_expected
from store.json_values import JSON
from store.store import Store

_DEFAULTS = CompareOptions()
_LABELS = dict(zip(METRICS, ("R@1", "R@5", "R@10", "R@50", "MdR", "MnR"), strict=True))
_DIRECTIONS = {direction: direction.replace("_", " ") for direction in DIRECTIONS}


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
    store = Store.open(store_place)
    num_expected = num_videos_expected(store, split)
    options = CompareOptions(
        split=split,
        max_missing=max_missing(num_expected) / num_expected,
        protocol=protocol,
        ties=None if ties is None else Ties(ties),
        bootstrap=BootstrapOptions(level, resamples, seed),
        num_permutations=permutations,
        num_moved=top,
    )
    with progress_listener("compare", progress) as listener:
        result = compare(store, names, options, listener=listener)
    for note in _notes(result):
        (say if as_json else show)(note)
    if as_json:
        print_json(to_json(result))
    else:
        _print(result)


def _notes(result: Comparison) -> Iterator[str]:
    """What a reader must know of the sets before reading the numbers."""
    first = result.sets[0].name
    for one in result.sets:
        for caveat in one.caveats:
            yield f"the numbers of {one.name!r} are not fair: {caveat}"
    for one in result.sets:
        if one.num_videos_left_out:
            yield (
                f"left out of {one.name!r}: {plural(one.num_videos_left_out, 'video')} that another set lacks, with "
                f"{plural(one.num_captions_left_out, 'caption')}"
            )
    for other in result.against_first:
        if other.inputs_differ:
            yield (
                f"OTHER CLIPS OR MASKS than those of {first!r} made {other.name!r} (`now` is {other.name!r}): "
                f"{other.inputs_differ}"
            )
        if other.models_differ:
            yield f"made otherwise (`now` is {other.name!r}): {other.models_differ}"


def _print(result: Comparison) -> None:
    percent = f"{100 * result.options.bootstrap.level:g}%"
    for direction, title in _DIRECTIONS.items():
        rows = [[_LABELS[metric], *(_scored_cell(one, direction, metric) for one in result.sets)] for metric in METRICS]
        print_table(f"{title}, {percent} intervals", ["", *(one.name for one in result.sets)], rows)
    first = result.sets[0].name
    for other in result.against_first:
        columns = ["", *(name for title in _DIRECTIONS.values() for name in (title, percent, "p"))]
        rows = [
            [
                _LABELS[metric],
                *(
                    cell
                    for direction in DIRECTIONS
                    for cell in _difference_cells(other.directions[direction].differences[metric])
                ),
            ]
            for metric in METRICS
        ]
        print_table(f"{other.name} less {first}", columns, rows)
        for direction, title in _DIRECTIONS.items():
            _print_moves(other.directions[direction], title)
    show(
        f"{plural(result.num_captions, 'caption')} x {plural(result.num_videos, 'video')} ({result.num_videos:,} of "
        f"{plural(result.num_videos_expected, 'video')} used); {protocol_words(result.protocol)}; "
        f"{result.options.bootstrap.num_resamples:,} resamples, {result.options.num_permutations:,} permutations, "
        f"seed {result.options.bootstrap.seed}"
    )
    show("of ranks, less is better; p is two-sided and of one metric alone: who looks at several has several chances")


def _print_moves(compared: DirectionCompared, title: str) -> None:
    moves = compared.changes
    show(
        f"{title}: {moves.num_better:,} of {moves.num_better + moves.num_worse + moves.num_same:,} queries better, "
        f"{moves.num_worse:,} worse, {moves.num_same:,} the same"
    )
    for name, some in (("risen", moves.risen), ("fallen", moves.fallen)):
        if some:
            columns = ["video", "rank before", "after"]
            rows = [[one.video_id, f"{one.before:g}", f"{one.after:g}"] for one in some]
            if any(one.caption for one in some):
                columns.insert(0, "caption")
                rows = [[one.caption or "", *row] for one, row in zip(some, rows, strict=True)]
            print_table(f"{title}: {name} most", columns, rows)


def _scored_cell(one: ScoredSet, direction: str, metric: str) -> str:
    value = getattr(getattr(one.metrics, direction), metric)
    interval = one.intervals[direction][metric]
    return f"{value:.1f} [{interval.low:.1f}, {interval.high:.1f}]"


def _difference_cells(found: Difference) -> tuple[str, str, str]:
    interval = f"[{found.interval.low:+.1f}, {found.interval.high:+.1f}]"
    return f"{found.value:+.1f}", interval, f"{found.p_value:.4f}"


def to_json(result: Comparison) -> dict[str, JSON]:
    """The machine-readable result."""
    bootstrap = result.options.bootstrap
    return {
        "split": result.split,
        "protocol": result.protocol.name,
        "ties": str(result.protocol.ties),
        "ties_of_several": None if result.protocol.ties_of_several is None else str(result.protocol.ties_of_several),
        "level": bootstrap.level,
        "num_resamples": bootstrap.num_resamples,
        "num_permutations": result.options.num_permutations,
        "seed": bootstrap.seed,
        "num_videos": result.num_videos,
        "num_videos_expected": result.num_videos_expected,
        "num_captions": result.num_captions,
        "num_captions_expected": result.num_captions_expected,
        "sets": [_set_json(one) for one in result.sets],
        "against_first": [_against_json(result.sets[0].name, other) for other in result.against_first],
    }


def _set_json(one: ScoredSet) -> dict[str, JSON]:
    return {
        "features": one.name,
        "num_videos_left_out": one.num_videos_left_out,
        "num_captions_left_out": one.num_captions_left_out,
        "caveats": list(one.caveats),
        **{
            direction: {
                **getattr(one.metrics, direction).to_dict(),
                "intervals": {metric: _ends(interval) for metric, interval in one.intervals[direction].items()},
            }
            for direction in DIRECTIONS
        },
        "made_by": dict(one.attributes),
    }


def _against_json(first: str, other: AgainstFirst) -> dict[str, JSON]:
    return {
        "features": other.name,
        "against": first,
        "inputs_differ": other.inputs_differ,
        "models_differ": other.models_differ,
        **{direction: _direction_json(other.directions[direction]) for direction in DIRECTIONS},
    }


def _direction_json(compared: DirectionCompared) -> dict[str, JSON]:
    moves = compared.changes
    return {
        "differences": {
            metric: {"value": found.value, "interval": _ends(found.interval), "p_value": found.p_value}
            for metric, found in compared.differences.items()
        },
        "num_better": moves.num_better,
        "num_worse": moves.num_worse,
        "num_same": moves.num_same,
        "risen": [_moved_json(one) for one in moves.risen],
        "fallen": [_moved_json(one) for one in moves.fallen],
    }


def _moved_json(one: RankChange) -> Mapping[str, JSON]:
    return asdict(one)


def _ends(interval: Interval) -> list[JSON]:
    return [interval.low, interval.high]
