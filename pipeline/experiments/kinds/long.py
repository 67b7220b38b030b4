"""`long`: where does average pooling end, and what do cached features of frames allow beyond it?

One training a seed, with FDA-CLIP's masks and average pooling. Its cached frames are then scored in several ways, so
that nothing but the pooling differs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from encoders.temporal.options import TemporalOptions
from pipeline.evaluation.evaluate import Evaluation
from pipeline.evaluation.names import DIRECTIONS
from pipeline.evaluation.options import EvalExtras, EvalOptions
from pipeline.evaluation.run import evaluate
from pipeline.evaluation.slices.inputs import split_facts
from pipeline.evaluation.statistics.crossed import Estimate, crossed_difference, crossed_share
from pipeline.experiments.drawings import ends_of
from pipeline.experiments.findings import Drawing, Findings, Table, percent_of, points_of, verdict
from pipeline.experiments.kind import VAL_SPLIT, CellScores, Kind, Scored, Scoring, Subject
from pipeline.experiments.masks import PAPER
from pipeline.experiments.options import ExperimentKind, ExperimentOptions
from pipeline.experiments.plan import CHECKPOINTS, Cell, Condition, Plan
from pipeline.experiments.results import Results
from pipeline.frames.options import TRAIN_SPLIT, PreprocessOptions
from pipeline.pages.figures import MARKERS, Colours
from pipeline.pooling.options import PoolOptions
from pipeline.pooling.run import pool_features
from pipeline.run.words import plural
from pipeline.synthetic.suites import Suite
from store.json_values import JSON

if TYPE_CHECKING:
    from matplotlib.axes import Axes

AVERAGE = "mean"
SEQTRANSF = "seqtransf"
WAYS: Mapping[str, str] = {
    AVERAGE: "average pooling",
    "best-frames": "best k frames",
    "attention": "attention over frames",
    "best-shot": "best shot",
    SEQTRANSF: "temporal transformer",
}
"""Way to score -> what it is called."""
TRAINED = Condition(PAPER.name, PAPER.title, PAPER.name)
GENERATED_PRESET = "demo-long"
GENERATED_TEMPORAL = TemporalOptions(layers=2, lr=1e-3, batch_size=24, epochs=40, patience=8)
"""For features of the tiny model, of a few hundred videos."""
NUM_BINS = 3
"""Of durations, with as many queries each."""
_GENERATED_SPLITS = "test-events-"


def plan(subject: Subject, options: ExperimentOptions) -> Plan:
    """One training for each seed."""
    generated = tuple(split for split in subject.num_videos if split.startswith(_GENERATED_SPLITS))
    trained = subject.trained
    if subject.is_generated and options.preset is None:
        trained = replace(trained, preset=GENERATED_PRESET)
    return Plan(
        kind=ExperimentKind.LONG,
        store=subject.store,
        masks=(PAPER,),
        conditions=(TRAINED,),
        seeds=options.random_seeds,
        # Of generated data, a split for each number of events, each a gallery of its own.
        splits=generated if subject.is_generated else (options.test_split,),
        # Encoded as well: the temporal transformer is trained on cached frames, and values are chosen on validation.
        more_splits=(TRAIN_SPLIT, *((VAL_SPLIT,) if trained.val_split else ())),
        watched=None,
        trained=trained,
    )


def pooling_of(plan: Plan, cell: Cell) -> PoolOptions:
    """How the temporal transformer of a cell is trained."""
    features = plan.features(cell)
    return PoolOptions(
        features=features,
        to=f"{features}.{SEQTRANSF}",
        splits=plan.splits,
        val_split=plan.trained.val_split,
        temporal=GENERATED_TEMPORAL if plan.trained.preset == GENERATED_PRESET else TemporalOptions(),
        seed=cell.seed,
        device=plan.trained.device,
    )


def score(it: Scoring) -> CellScores:
    """Score the cached frames of a cell in all ways; each value is chosen once, on validation."""
    pooling = pooling_of(it.plan, it.cell)
    folder = it.folder / CHECKPOINTS / f"{SEQTRANSF}.{it.cell.name}"
    # Before anything is scored: it goes on where it was killed, and writes the features that the last way scores.
    trained = pool_features(it.plan.store, folder, pooling)
    scored: dict[str, Scored] = {}
    # Epoch 0 is before the first step.
    chosen: dict[str, JSON] = {SEQTRANSF: f"epoch {trained.history.best_epoch} of {len(trained.history.epochs) - 1}"}
    seconds: dict[str, JSON] = {}
    for split in it.plan.splits:
        # Without validation videos no value can be chosen; the transformer holds out some of its own.
        for way in WAYS if it.plan.trained.val_split else (AVERAGE, SEQTRANSF):
            found = _evaluated(it, split, way, pooling.to)
            scored[split if way == AVERAGE else f"{split}/{way}"] = Scored.of(found)
            chosen.setdefault(way, found.pooling)  # the same for all splits: it is chosen on validation
            # Once: whatever the way, the videos of a split are the same.
            if way == AVERAGE:
                seconds[split] = _seconds(it, split, found)
    return CellScores(scored, {"chosen": chosen, "seconds": seconds})


def _evaluated(it: Scoring, split: str, way: str, pooled: str) -> Evaluation:
    if way == SEQTRANSF:
        return it.evaluate(split, pooled)
    options = EvalOptions(split=split, pooling=way, choose_split=VAL_SPLIT)
    return evaluate(it.store.place, it.features, options, extras=EvalExtras(intervals=None)).result


def _seconds(it: Scoring, split: str, found: Evaluation) -> list[JSON]:
    """How long the video of each query of `Queries.video_ids` lasts; None where that is not known."""
    facts = split_facts(it.store, found.ranking.features, split)
    of_videos = facts.duration_seconds[found.ranking.to_text.videos].tolist()
    return [None if np.isnan(one) else round(one, 3) for one in of_videos]


def commands(plan: Plan, folder: Path) -> Iterator[list[str]]:
    """The transformers, and the other ways to score."""
    for cell in plan.cells:
        pooling, plain = pooling_of(plan, cell), TemporalOptions()
        words = ["fda", "pool", plan.store, str(folder / CHECKPOINTS / f"{SEQTRANSF}.{cell.name}")]
        words += ["--features", pooling.features, "--to", pooling.to]
        words += [word for split in pooling.splits for word in ("--split", split)]
        words += ["--val-split", pooling.val_split] if pooling.val_split else []
        for name in ("layers", "epochs", "patience", "batch_size", "lr"):
            value = getattr(pooling.temporal, name)
            words += [] if value == getattr(plain, name) else [f"--{name.replace('_', '-')}", f"{value:g}"]
        yield [*words, "--seed", str(cell.seed), "--device", plan.trained.device]
        for split in plan.splits:
            yield ["fda", "eval", plan.store, "--features", pooling.to, "--split", split]
            for way in WAYS if plan.trained.val_split else ():
                if way not in (AVERAGE, SEQTRANSF):
                    yield [
                        "fda",
                        "eval",
                        plan.store,
                        "--features",
                        pooling.features,
                        "--split",
                        split,
                        "--pooling",
                        way,
                    ]


@dataclass(frozen=True, slots=True)
class _Queries:
    """Some captions, of one split or of several, in the order in which their ranks are joined."""

    hits: Mapping[str, NDArray[np.bool_]]
    """Way -> shape (num_seeds, num_queries): whether the own video is first."""
    video: NDArray[np.int64]
    """Shape (num_queries,)."""
    seconds: NDArray[np.float64]
    """Shape (num_queries,): NaN if not known."""

    def where(self, is_one: NDArray[np.bool_]) -> _Queries:
        """Some of them."""
        return _Queries(
            {way: hits[:, is_one] for way, hits in self.hits.items()}, self.video[is_one], self.seconds[is_one]
        )

    @property
    def num_videos(self) -> int:
        """Whose captions these are."""
        return len(np.unique(self.video))

    def recall(self, way: str) -> Estimate:
        """R@1 of text to video, 0..1."""
        return crossed_share(self.hits[way], self.video)

    def gain(self, way: str) -> Estimate:
        """R@1 minus that of average pooling: paired by seed and caption."""
        return crossed_difference(self.hits[AVERAGE], self.hits[way], self.video)


def _queries(results: Results, splits: Sequence[str]) -> _Queries:
    ways = [way for way in WAYS if way == AVERAGE or f"{splits[0]}/{way}" in results.cells[0].ranks]
    # Of each split an array (num_seeds, num_queries), joined along the queries below.
    hits: dict[str, list[NDArray[np.bool_]]] = {way: [] for way in ways}
    video, seconds, num_before = [], [], 0
    for split in splits:
        owner = results.queries[split].videos(DIRECTIONS[0])
        known = results.cells[0].more["seconds"][split]  # of any cell: all are scored on the same videos
        of_videos = np.array([np.nan if one is None else one for one in known], np.float64)
        for way in ways:
            scored = split if way == AVERAGE else f"{split}/{way}"
            hits[way].append(results.ranks(TRAINED.name, scored, DIRECTIONS[0]) <= 1)
        # Numbers of videos go on from split to split: unlike those of one suite of masks, these are other scenes.
        video.append(owner + num_before)
        seconds.append(of_videos[owner])
        num_before += len(of_videos)
    joined = {way: np.concatenate(some, axis=1) for way, some in hits.items()}
    return _Queries(joined, np.concatenate(video), np.concatenate(seconds))


def _bins(queries: _Queries) -> dict[str, _Queries]:
    """Bins of durations, by their names; none if durations are not known or all the same."""
    known = queries.seconds[~np.isnan(queries.seconds)]
    # Each edge once: where many videos last equally long, quantiles coincide, and their bin would be empty.
    edges = np.unique(np.quantile(known, np.linspace(0, 1, NUM_BINS + 1))) if len(known) else np.empty(0)
    found = {}
    for number, (low, high) in enumerate(pairwise(edges.tolist())):
        is_last = number == len(edges) - 2  # the last bin has its upper end, which is the longest video
        is_in = (queries.seconds >= low) & ((queries.seconds <= high) if is_last else (queries.seconds < high))
        some = queries.where(is_in)
        if some.num_videos > 1:  # an interval is over videos
            found[f"{low:.1f} to {high:.1f} s"] = some
    return found


def findings(results: Results) -> Findings:
    """R@1 by events and by duration, what each way gains, and what was chosen."""
    every = _queries(results, results.splits)
    groups = {_split_words(split): _queries(results, [split]) for split in results.splits}
    bins = _bins(every)
    tables = [_table("splits", "Text-to-video R@1 by number of events" if len(groups) > 1 else "R@1", groups, every)]
    if bins:
        tables.append(_table("durations", "Text-to-video R@1 by duration", bins, every))
    drawn = {"events": groups if len(groups) > 1 else {}, "duration": bins}
    drawings = tuple(_drawing(f"long-{name}", name, some) for name, some in drawn.items() if len(some) > 1)
    return Findings(_answer(groups, every), (*tables, _chosen(results, list(every.hits))), drawings)


def _split_words(split: str) -> str:
    number = split.removeprefix(_GENERATED_SPLITS)
    return plural(int(number), "event") if number.isdigit() else split


def _answer(groups: Mapping[str, _Queries], every: _Queries) -> str:
    told = []
    if len(groups) > 1:
        (first, few), *_, (last, many) = groups.items()
        told.append(
            f"Average pooling finds {percent_of(few.recall(AVERAGE))}% of the captions of {first} first, and "
            f"{percent_of(many.recall(AVERAGE))}% of those of {last}."
        )
    else:
        told.append(f"Average pooling finds {percent_of(every.recall(AVERAGE))}% of the captions first.")
    gains = [
        f"{WAYS[way]} {points_of(every.gain(way))} ({verdict(every.gain(way))})" for way in every.hits if way != AVERAGE
    ]
    return f"{' '.join(told)} Over all, in points of R@1 against it: {'; '.join(gains)}."


def _table(name: str, title: str, groups: Mapping[str, _Queries], every: _Queries) -> Table:
    """A row a way: R@1 in each group and over all, and below it what that gains."""
    columns = {**groups, "all": every} if len(groups) > 1 else groups
    rows = []
    for way in every.hits:
        rows.append((WAYS[way], *(percent_of(one.recall(way)) for one in columns.values())))
        if way != AVERAGE:
            rows.append(("  over average pooling", *(points_of(one.gain(way)) for one in columns.values())))
    sizes = ", ".join(f"{label} {one.num_videos}" for label, one in groups.items())
    return Table(
        name,
        title,
        ("pooling", *columns),
        tuple(rows),
        (
            f"Videos: {sizes}. Each split is a gallery of its own; its two clips of opposite order of events differ in "
            "nothing else, so that what knows no order finds half of them at most where there are several events."
            if name == "splits" and len(groups) > 1
            else f"Videos: {sizes}. A query competes with all videos of its split, whatever their duration.",
        ),
    )


def _chosen(results: Results, ways: Sequence[str]) -> Table:
    cells = results.cells_of(TRAINED.name)
    return Table(
        "chosen",
        "What was chosen on validation, for each seed",
        ("pooling", *(f"seed {cell.seed}" for cell in cells)),
        tuple((WAYS[way], *(str(cell.more["chosen"].get(way, "-")) for cell in cells)) for way in ways),
        (
            "A temperature of 100, all frames, or one shot a video mean that weighting frames did not help on "
            "validation; epoch 0 is the untrained transformer, which is unit-mean pooling.",
        ),
    )


def _drawing(name: str, what: str, groups: Mapping[str, _Queries]) -> Drawing:
    ways = list(next(iter(groups.values())).hits)

    def draw(panels: Sequence[Axes], colours: Colours) -> None:
        (axes,) = panels
        # Average pooling, which all are against, comes first: in ink and dashed.
        looks = zip((colours.ink, *colours.series), ("x", *MARKERS), strict=True)
        for number, (way, (colour, marker)) in enumerate(zip(ways, looks, strict=False)):
            found = [one.recall(way) for one in groups.values()]
            places = [place + 0.09 * (number - (len(ways) - 1) / 2) for place in range(len(groups))]
            axes.errorbar(
                places,
                [100 * one.value for one in found],
                yerr=ends_of(found),
                color=colour,
                marker=marker,
                markersize=5,
                linewidth=1,
                linestyle="dashed" if way == AVERAGE else "solid",
                label=WAYS[way],
            )
        axes.set_xticks(range(len(groups)), list(groups), parse_math=False)
        axes.set_ylabel("R@1, %, with 95% intervals")
        axes.set_ylim(0, None)
        axes.grid(visible=False, axis="x")
        axes.grid(visible=True, axis="y")
        axes.figure.legend(loc="outside upper center", ncols=2)

    told = "; ".join(f"{label}: {percent_of(one.recall(AVERAGE))}" for label, one in groups.items())
    return Drawing(name, f"Text-to-video R@1 by {what}, a line for each pooling. Average pooling: {told}", 4.2, 1, draw)


LONG = Kind(
    name=ExperimentKind.LONG,
    question="Where does average pooling end in long videos, and what helps?",
    suite=Suite.LONG,
    plan=plan,
    findings=findings,
    score=score,
    clips=PreprocessOptions(train_frames=12, eval_frames=12),
    why_whole=f"it has one, {TRAINED.name!r}",
    commands=commands,
)
