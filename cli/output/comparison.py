"""What `fda compare` prints."""

from __future__ import annotations

from collections.abc import Iterator

from cli.output.printing import show
from cli.output.tables import print_table
from pipeline.evaluation.comparing.compare import AgainstFirst, Comparison, Difference, DirectionCompared, ScoredSet
from pipeline.evaluation.names import DIRECTIONS, METRICS
from pipeline.run.words import listed, plural, setting

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
    for number, other in enumerate(result.sets):
        # Another model is what people compare; other clips or masks are mostly a mistake.
        if inputs := [one.key for one in result.unlike if one.is_input and one.differs(number)]:
            yield f"OTHER CLIPS OR MASKS than those of {first!r} made {other.name!r}: {listed(inputs)}"


def print_comparison(result: Comparison) -> None:
    """Print the tables, for people."""
    _print_unlike(result)
    percent = f"{100 * result.options.bootstrap.level:g}%"
    for direction, title in _DIRECTIONS.items():
        rows = [[_LABELS[metric], *(_scored_cell(one, direction, metric) for one in result.sets)] for metric in METRICS]
        print_table(f"{title}, {percent} intervals", ["", *(one.name for one in result.sets)], rows)
    for other in result.against_first:
        _print_against(other, f"{other.name} minus {result.sets[0].name}", percent)
    show(
        f"{plural(result.num_captions, 'caption')} x {plural(result.num_videos, 'video')} ({result.num_videos:,} of "
        f"{plural(result.num_videos_expected, 'video')} used); {result.protocol}; "
        f"{result.options.bootstrap.num_resamples:,} resamples, {result.options.num_permutations:,} permutations, "
        f"seed {result.options.bootstrap.seed}"
    )
    show(
        "lower ranks are better; each p-value is two-sided and for one metric: it is not corrected for several metrics"
    )


def _print_against(other: AgainstFirst, title: str, percent: str) -> None:
    for direction, name in _DIRECTIONS.items():
        compared = other.directions[direction]
        rows = [[_LABELS[metric], *_difference_cells(compared.differences[metric])] for metric in METRICS]
        print_table(f"{title}, {name}", ["", "difference", f"{percent} interval", "p"], rows)
        _print_moves(compared, name)


def _print_unlike(result: Comparison) -> None:
    """What the sets were not made with alike, a row each."""
    if result.unlike:
        names = [one.name for one in result.sets]
        rows = [[one.key, *map(setting, one.values)] for one in result.unlike]
        print_table("made with", ["", *names], rows, texts=names)


def _print_moves(compared: DirectionCompared, title: str) -> None:
    moves = compared.changes
    show(
        f"{title}: {moves.num_better:,} of "
        f"{plural(moves.num_better + moves.num_worse + moves.num_same, 'query')} better, "
        f"{moves.num_worse:,} worse, {moves.num_same:,} the same"
    )
    for name, some in (("risen", moves.risen), ("fallen", moves.fallen)):
        if some:
            columns = ["video", "rank before", "after"]
            rows = [[one.video_id, f"{one.before:g}", f"{one.after:g}"] for one in some]
            if any(one.caption for one in some):
                columns.append("caption")
                rows = [[*row, one.caption or ""] for one, row in zip(some, rows, strict=True)]
            print_table(f"{title}: {name} most", columns, rows, texts=["caption"])


def _scored_cell(one: ScoredSet, direction: str, metric: str) -> str:
    value = getattr(getattr(one.metrics, direction), metric)
    interval = one.intervals[direction][metric]
    return f"{value:.1f} [{interval.low:.1f}, {interval.high:.1f}]"


def _difference_cells(found: Difference) -> tuple[str, str, str]:
    interval = f"[{found.interval.low:+.1f}, {found.interval.high:+.1f}]"
    return f"{found.value:+.1f}", interval, f"{found.p_value:.4f}"
