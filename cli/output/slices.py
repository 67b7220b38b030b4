"""Tables of retrieval by slices of the queries: see `pipeline.evaluation.slices.families`."""

from __future__ import annotations

from cli.output.printing import show
from cli.output.tables import print_table
from pipeline.evaluation.metrics import RetrievalMetrics
from pipeline.evaluation.names import DIRECTIONS
from pipeline.evaluation.slices.scoring import FEW_MARK, FEW_VIDEOS, FamilyScores, SliceScore, SliceScores

COLUMNS = (
    *("captions", "T2V R@1", "T2V interval", "T2V R@5", "T2V R@10", "T2V MdR"),
    *("videos", "V2T R@1", "V2T interval", "V2T R@5", "V2T R@10", "V2T MdR"),
)


def print_slices(scores: SliceScores) -> None:
    """Print a table a family, each beginning with all queries, and the gap of static objects to the rest.

    Of a family that has all queries in one slice, a line says which.
    """
    for family in scores.telling:
        rows = [_row(scores.all_queries), *map(_row, family.slices)]
        print_table(f"{family.name}: {family.summary}", ["", *COLUMNS], rows)
    for family in scores.families:
        if family not in scores.telling:
            show(f"{family.name}: all queries are in one slice, {family.slices[0].label!r}")
    if scores.static_gap:
        names = {"text_to_video": "text to video", "video_to_text": "video to text"}
        gaps = ", ".join(f"{names[direction]} {gap:+.1f}" for direction, gap in scores.static_gap.items())
        show(f"R@1 of static objects minus that of all others, in points: {gaps}{_few_static(scores.families)}")
    level = next((one.level for found in scores.all_queries.intervals.values() for one in found.values()), None)
    if level is not None:
        show(f"intervals are those of R@1, {100 * level:g}%")
    show("a slice selects queries; each query is still ranked among all candidates of the split")
    if any(_is_marked(one) for family in scores.telling for one in family.slices):
        show(f"{FEW_MARK} queries of fewer than {FEW_VIDEOS} videos")


def _row(one: SliceScore) -> list[str]:
    return [one.label, *(cell for direction in DIRECTIONS for cell in _cells(one, direction))]


def _cells(one: SliceScore, direction: str) -> list[str]:
    """The number of queries, marked where they are of few videos, and the metrics; dashes where there is none."""
    metrics: RetrievalMetrics | None = getattr(one, direction)
    if metrics is None:
        return ["0", *["-"] * 5]
    number = f"{metrics.num_queries:,}{FEW_MARK if one.is_few(direction) else ''}"
    found = one.intervals.get(direction)
    interval = "-" if found is None else f"{found['r1'].low:.1f}-{found['r1'].high:.1f}"
    return [
        number,
        f"{metrics.r1:.1f}",
        interval,
        *(f"{x:.1f}" for x in (metrics.r5, metrics.r10, metrics.median_rank)),
    ]


def _is_marked(one: SliceScore) -> bool:
    return any(map(one.is_few, DIRECTIONS))


def _few_static(families: tuple[FamilyScores, ...]) -> str:
    """A mark where the gap rests on few queries."""
    # Captions of which it is not known are in neither side of the gap.
    static = [one for family in families if family.name == "static" for one in family.slices if one.name != "unknown"]
    return f" {FEW_MARK}" if any(map(_is_marked, static)) else ""
