"""What an experiment is made of: a file in `kinds/` gives one such value, and `kinds/table.py` lists them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.evaluate import Evaluation
from pipeline.evaluation.options import EvalExtras, EvalOptions
from pipeline.evaluation.run import evaluate
from pipeline.experiments.findings import Findings
from pipeline.experiments.options import ExperimentKind, ExperimentOptions
from pipeline.experiments.plan import Cell, Plan
from pipeline.experiments.results import Queries, Results
from pipeline.frames.options import PreprocessOptions
from pipeline.synthetic.suites import Suite
from pipeline.training.options import FinetuneOptions
from store.json_values import JSON
from store.store import Store

VAL_SPLIT = "val"


@dataclass(frozen=True, slots=True)
class Subject:
    """What an experiment works on."""

    store: str
    num_videos: Mapping[str, int]
    """Split -> videos, of all splits that the store has."""
    is_generated: bool
    has_truth: bool
    """Whether the truth is known: which pixels move."""
    trained: FinetuneOptions
    """How models are trained, but for what conditions change."""


@dataclass(frozen=True, slots=True)
class Scored:
    """The ranks of all queries of one split, scored in one way."""

    queries: Queries
    ranks: Mapping[str, NDArray[np.int64]]
    """Direction -> the rank of each query; ties count as losses."""

    @classmethod
    def of(cls, found: Evaluation) -> Scored:
        """Take the ranks of an evaluation."""
        ranking = found.ranking
        videos, features = ranking.to_text.videos, ranking.features
        queries = Queries(
            caption_ids=features.caption_ids,
            video_ids=tuple(features.video_ids[row] for row in videos.tolist()),
            # `videos` are ascending rows, those with captions: from the row of a video to its number among them.
            owner=tuple(np.searchsorted(videos, features.truth).tolist()),
        )
        to_text = ranking.to_text.best
        return cls(
            queries,
            {
                "text_to_video": ranking.to_video.above + ranking.to_video.level,
                "video_to_text": to_text.above + to_text.level,
            },
        )


@dataclass(frozen=True, slots=True)
class Scoring:
    """A cell that is trained and encoded, to be scored."""

    store: Store
    folder: Path
    """Of the experiment."""
    plan: Plan
    cell: Cell

    @property
    def features(self) -> str:
        """Name of the feature set, which has the splits `plan.splits` and `plan.more_splits`."""
        return self.plan.features(self.cell)

    def evaluate(self, split: str, features: str | None = None) -> Evaluation:
        """Score a feature set of the plan, by default the cell's own."""
        options = EvalOptions(split=split)
        # No intervals: those of an experiment are over seeds as well, and made of the ranks of all cells.
        found = evaluate(self.store.place, features or self.features, options, extras=EvalExtras(intervals=None))
        return found.result


@dataclass(frozen=True, slots=True)
class CellScores:
    """What scoring a cell gives."""

    scored: Mapping[str, Scored]
    """By split; scored in another way too: by `split/way`."""
    more: Mapping[str, JSON]


def score_splits(it: Scoring) -> CellScores:
    """Score the splits of the plan from the cached features of videos."""
    found = {split: it.evaluate(split) for split in it.plan.splits}
    return CellScores(
        {split: Scored.of(one) for split, one in found.items()},
        {
            "alpha_cosine": {split: one.alpha_cosine for split, one in found.items()},
            "caveats": sorted({sentence for one in found.values() for sentence in one.caveats}),
        },
    )


@dataclass(frozen=True, slots=True)
class Kind:
    """One experiment."""

    name: ExperimentKind
    question: str
    """That it answers, with a question mark."""
    suite: Suite
    """Of generated data that it asks on, if no store is given."""
    plan: Callable[[Subject, ExperimentOptions], Plan]
    """What is to be done; pure."""
    findings: Callable[[Results], Findings]
    """What the numbers say; pure."""
    score: Callable[[Scoring], CellScores] = score_splits
    """How a cell that is encoded is scored."""
    clips: PreprocessOptions = field(default_factory=PreprocessOptions)
    """How generated videos become clips."""
    quick_clips: tuple[int | None, int | None] = (None, None)
    """Clips of a quick run to train with, and of each other split, if they are fewer than those of the size `tiny`."""
    why_whole: str = ""
    """Why nobody can choose among its conditions; empty where one can."""
    commands: Callable[[Plan, Path], Iterable[list[str]]] = lambda plan, folder: ()
    """Command lines of what `score` does beyond `fda eval`; of a plan and the experiment's folder."""
