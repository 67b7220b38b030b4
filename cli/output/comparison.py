"""What `fda compare` prints."""

from __future__ import annotations

from collections.abc import Iterator

from cli.output.eval_report import protocol_words
from cli.output.printing import print_table, show
from pipeline.evaluation.comparing.compare import Comparison, Difference, DirectionCompared, ScoredSet
from pipeline.evaluation.names import DIRECTIONS, METRICS
from pipeline.run.words import plural

_LABELS = dict(zip(METRICS, ("R@1", "R@5", "R@10", "R@50", "MdR", "MnR"), strict=True))
_DIRECTIONS = {direction: direction.replace("_", " ") for direction in DIRECTIONS}


def comparison_notes(result: Comparison) -> Iterator[str]:
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


def print_comparison(result: Comparison) -> None:
    """Print the tables, for people."""
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
    show(
        "lower ranks are better; each p-value is two-sided and for one metric: it is not corrected for several metrics"
    )


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
