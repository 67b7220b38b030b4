"""`static`: what masks cost where the caption names what does not move, and what repairs it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pipeline.clips.options import AlphaSource
from pipeline.errors import InputError
from pipeline.evaluation.evaluate import Evaluation, evaluate_scores
from pipeline.evaluation.options import EvalOptions
from pipeline.evaluation.scores.dot import DotScores
from pipeline.experiments.drawings import shares_by_row
from pipeline.experiments.findings import Drawing, Findings, Table, percent_of, points_of, verdict
from pipeline.experiments.kind import CellScores, Kind, Scored, Scoring, Subject, score_splits
from pipeline.experiments.masks import AUTO, ONES, PAPER, SOFT, references
from pipeline.experiments.options import ExperimentKind, ExperimentOptions
from pipeline.experiments.plan import Cell, Condition, MaskChoice, Plan
from pipeline.experiments.results import Results
from pipeline.masks.options import MaskOptions, WhenEmpty
from pipeline.synthetic.suites import Suite
from store.features import Features, read_features
from store.store import Store

STATIC = "-static"
"""How the splits end whose captions name what does not move."""
WHEN_EMPTY = MaskChoice("empty-ones", "the paper's, all ones where empty", MaskOptions(when_empty=WhenEmpty.ONES))
WITH_MASKS = Condition(PAPER.name, PAPER.title, PAPER.name)
_REPAIRS = (WHEN_EMPTY.name, SOFT.name)
"""Besides mixes."""
# From 1 down: of weights with equal R@1, `max` takes the first, which is nearest to masks alone.
_WEIGHTS = tuple(round(1 - number / 10, 1) for number in range(11))
"""Of the masked features, that are tried: from masks alone to the whole image alone."""
_UNCHOSEN = 0.5
"""The weight where there is no validation split to choose it on."""


def plan(subject: Subject, options: ExperimentOptions) -> Plan:
    """Masks and all ones; empty-mask rules and soft masks; and of two models, features with and without masks mixed."""
    splits = [options.test_split, f"{options.test_split}{STATIC}"]
    chosen_on = ["val", f"val{STATIC}"]
    # `whole` before its mix, which needs it: `Plan` checks that order.
    mixes = [one for mask in (PAPER, AUTO) for one in _mix(mask)]
    return Plan(
        kind=ExperimentKind.STATIC,
        store=subject.store,
        masks=(PAPER, AUTO, SOFT, WHEN_EMPTY),
        conditions=(
            ONES,
            WITH_MASKS,
            *(Condition(one.name, one.title, one.name) for one in (WHEN_EMPTY, SOFT, AUTO)),
            *mixes,
        ),
        seeds=options.random_seeds,
        splits=tuple(one for one in splits if one in subject.num_videos),
        more_splits=tuple(one for one in chosen_on if one in subject.num_videos),
        watched=None,
        trained=subject.trained,
    )


def _mix(masks: MaskChoice) -> tuple[Condition, Condition]:
    """The model of some masks without them, and the mix of its features with them and without."""
    # Encoded by the checkpoint that was trained with masks: only one model gives vectors that may be added.
    whole = Condition(
        f"{masks.name}-whole",
        f"model of {masks.name}, whole image",
        # A mask set must be named, and with an alpha of all ones none is read.
        PAPER.name,
        AlphaSource.ONES,
        trained_as=masks.name,
    )
    return whole, Condition(
        f"{masks.name}-mix", f"{masks.name} mixed with the whole image", masks.name, mixed=(masks.name, whole.name)
    )


def score(it: Scoring) -> CellScores:
    """Score a cell; of a mix, choose the weight on the validation splits first."""
    # The other cells of the same seed are encoded by now.
    names = it.cell.condition.mixed
    if names is None:
        return score_splits(it)
    cells = [Cell(it.plan.condition(name), it.cell.seed) for name in names]
    masked, whole = (it.plan.features(cell) for cell in cells)
    pairs = {split: _Pair.read(it.store, masked, whole, split) for split in (*it.plan.splits, *it.plan.more_splits)}
    weight = _UNCHOSEN
    if it.plan.more_splits:
        # The sum over validation splits, moving and static ones: a weight for one alone would be paid for by the other.
        weight = max(_WEIGHTS, key=lambda one: sum(pairs[split].r1(one) for split in it.plan.more_splits))
    return CellScores(
        {split: Scored.of(pairs[split].evaluated(weight)) for split in it.plan.splits},
        {"weight": weight, "chosen_on": list(it.plan.more_splits)},
    )


@dataclass(frozen=True, slots=True)
class _Pair:
    """Cached features of one checkpoint on a split, with masks and of the whole image."""

    split: str
    name: str
    """Of the features with masks."""
    masked: Features
    whole: Features

    @classmethod
    def read(cls, store: Store, masked: str, whole: str, split: str) -> _Pair:
        """Read both feature sets of a split: once, for all weights."""
        pair = cls(split, masked, read_features(store, masked, split), read_features(store, whole, split))
        # Rows are added below, so they must be of the same videos in the same order.
        if pair.masked.video_ids != pair.whole.video_ids:
            raise InputError(f"features {masked!r} and {whole!r} have other videos: run the command again")
        return pair

    def r1(self, weight: float) -> float:
        """Text-to-video R@1 by mixed features, percent."""
        return self.evaluated(weight).metrics.text_to_video.r1

    def evaluated(self, weight: float) -> Evaluation:
        """The ranks by mixed features of videos; those of captions are the same in both."""
        # Captions are those of `masked`: a text is embedded without any alpha, so `whole` has the same ones.
        found = replace(self.masked, video=mixed(self.masked, self.whole, weight))
        scores = DotScores(found.text, found.video)
        return evaluate_scores(found, scores, EvalOptions(split=self.split), features=self.name, pooling="mixed")


def mixed(masked: Features, whole: Features, weight: float) -> NDArray[np.float32]:
    """Features of videos, `weight` times those with masks and the rest without, at unit norm: (num_videos, dim)."""
    both = weight * masked.video + (1 - weight) * whole.video  # (num_videos, dim); both are of unit norm
    units: NDArray[np.float32] = (both / np.linalg.norm(both, axis=1, keepdims=True)).astype(np.float32)
    return units


def findings(results: Results) -> Findings:
    """What is lost on static captions, and what each repair gives there and costs elsewhere."""
    mixes = [name for name, one in results.conditions.items() if one.get("mixed")]
    weights = (_weights(results, mixes),) if mixes else ()
    return Findings(_answer(results), (_table(results), *weights), (_drawing(results),))


def _static(results: Results) -> str:
    """The split of static captions; if there is none, the one that is scored."""
    return results.splits[-1]


def _answer(results: Results) -> str:
    static, moving = _static(results), results.splits[0]
    named = "Where the caption names what does not move" if static != moving else "Over all captions"
    told = []
    if {ONES.name, WITH_MASKS.name} <= results.conditions.keys():
        lost = results.gain(WITH_MASKS.name, ONES.name, static)
        said = verdict(lost, better="nothing is lost", worse="that much is lost")
        told.append(f"{named}, FDA-CLIP's masks change R@1 by {points_of(lost)} points against all ones ({said}).")
    repairs = [name for name, one in results.conditions.items() if name in _REPAIRS or one.get("mixed")]
    if repairs and WITH_MASKS.name in results.conditions:
        begin = "The repair with the highest R@1 there" if told else f"{named}, the repair with the highest R@1"
        told.append(f"{begin}, {_best_repair(results, repairs)}")
    return (
        " ".join(told)
        or f"No answer: it needs `{WITH_MASKS.name}`, and `{ONES.name}` or a repair; the others were left out."
    )


def _best_repair(results: Results, repairs: Sequence[str]) -> str:
    static, moving = _static(results), results.splits[0]
    # Chosen on the static split, so only its interval is widened for the choice; on the others nothing was chosen.
    best = max(repairs, key=lambda name: results.gain(name, WITH_MASKS.name, static).value)
    there, here = (
        results.gain(best, WITH_MASKS.name, split, among=len(repairs) if split == static else 1)
        for split in (static, moving)
    )
    widened = f", an interval for the best of {len(repairs)}" if len(repairs) > 1 else ""
    return (
        f"`{best}`, changes it by {points_of(there)} points against the masks"
        f"{widened} ({verdict(there)}), and that of the other captions by {points_of(here)} ({verdict(here)})."
    )


def _table(results: Results) -> Table:
    rows, others = [], references(results)
    for name, one in results.conditions.items():
        cells = [percent_of(results.recall(name, split)) for split in results.splits]
        cells += [
            "-" if than == name else points_of(results.gain(name, than, split))
            for than in others
            for split in results.splits
        ]
        rows.append((one["title"], *cells))
    compared = [f"{split} over {words}" for words in others.values() for split in results.splits]
    columns = ("alpha channel", *results.splits, *compared)
    return Table("repairs", "T2V R@1 on moving and on static captions, and differences in points", columns, tuple(rows))


def _weights(results: Results, mixes: Sequence[str]) -> Table:
    rows = [
        (results.conditions[name]["title"], *(f"{cell.more['weight']:g}" for cell in results.cells_of(name)))
        for name in mixes
    ]
    chosen_on = next((", ".join(cell.more["chosen_on"]) for cell in results.cells if "chosen_on" in cell.more), "")
    note = f"Chosen by mean T2V R@1 on {chosen_on}." if chosen_on else "Not chosen: there is no validation split."
    columns = ("mix", *(f"seed {seed}" for seed in results.seeds))
    return Table("weights", "Weight of the masked features in a mix", columns, tuple(rows), (note,))


def _drawing(results: Results) -> Drawing:
    found = {name: [results.recall(name, split) for split in results.splits] for name in results.conditions}
    return shares_by_row("static", "Text-to-video R@1", found, results.splits, "R@1, %, with 95% intervals")


STATIC_CAPTIONS = Kind(
    name=ExperimentKind.STATIC,
    question="What do masks cost where the caption names what does not move, and what repairs it?",
    suite=Suite.STATIC,
    quick_clips=(16, 4),
    plan=plan,
    findings=findings,
    score=score,
)
