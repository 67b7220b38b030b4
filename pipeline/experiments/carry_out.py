"""Carrying out a plan: each cell is trained, encoded, scored, and kept. What is done already is not done again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.errors import InputError
from pipeline.experiments.folder import ExperimentFolder
from pipeline.experiments.kind import CellScores, Kind, Scored, Scoring
from pipeline.experiments.masks import ensure_masks, measure_masks
from pipeline.experiments.plan import CHECKPOINTS, Cell, Plan
from pipeline.experiments.results import CellResult, MaskResult, Queries, Results
from pipeline.features.run import encode
from pipeline.run.events import Event, ItemsDone, Listener, Message, Reporter, RunPlanned, StepDone
from pipeline.training.checkpoint import TrainingHistory
from pipeline.training.evaluations import window_mean
from pipeline.training.presets import chosen_preset
from pipeline.training.run import finetune
from store.json_values import JSON
from store.store import Store


@dataclass(frozen=True, slots=True)
class CarryingOut:
    """A plan, where it is kept, and who hears of it."""

    kind: Kind
    plan: Plan
    folder: ExperimentFolder
    report: Reporter
    listener: Listener
    """Of the calls within: hears of their progress and warnings alone."""

    @classmethod
    def of(cls, kind: Kind, plan: Plan, folder: ExperimentFolder, report: Reporter) -> CarryingOut:
        """With a listener that leaves out what each call says of itself: there may be hundreds."""
        return cls(kind, plan, folder, report, _working(report.hear))

    def results(self, about: Mapping[str, Any]) -> Results:
        """Do what is pending, and put together all that was found."""
        masks = [self._masks(choice.name) for choice in self.plan.masks]
        cells = list(self.plan.cells)
        # By the file alone: it is written last of all that a cell does, and whole.
        pending = [cell for cell in cells if not self.folder.cell(cell.name).is_file()]
        for number, cell in enumerate(pending, start=1):
            self.report.say(f"cell {number} of {len(pending)}: {cell.condition.label}, seed {cell.seed}")
            self._carry_out(cell)
        return Results(
            about=about,
            queries={split: self._queries(split) for split in self.plan.splits},
            masks={one.name: one for one in masks},
            cells=tuple(CellResult.from_dict(self._kept(cell.name)) for cell in cells),
        )

    def _kept(self, name: str) -> dict[str, Any]:
        found = self.folder.read_cell(name)
        if found is None:
            raise InputError(f"{self.folder.cell(name)} was removed while the experiment ran: run it again")
        return found

    def _queries(self, split: str) -> Queries:
        return Queries.from_dict(self._kept(f"queries.{split}"))

    def _masks(self, name: str) -> MaskResult:
        """A mask set, made if it is pending, and measured."""
        choice = next(one for one in self.plan.masks if one.name == name)
        kept = f"masks.{name}"
        if self.folder.read_cell(kept) is None:
            self.report.say(f"masks: {choice.title}")
            ensure_masks(self.plan.store, choice, self.listener)
            found = measure_masks(self.plan.store, name, self.plan.splits, self.listener)
            self.folder.write_cell(kept, found.to_dict())
        return MaskResult.from_dict(self._kept(kept))

    def _carry_out(self, cell: Cell) -> None:
        plan = self.plan
        training = self._trained(cell) if cell.condition.is_trained else None
        # A mix reads features of two other cells, which come before it in the plan.
        if cell.condition.mixed is None:
            encode(plan.store, plan.encoding(cell), plan.model(cell, self.folder.path), listener=self.listener)
        scores = self.kind.score(Scoring(Store.open(self.plan.store), self.folder.path, self.plan, cell))
        self._keep(cell, training, scores)

    def _trained(self, cell: Cell) -> dict[str, JSON]:
        folder = self.folder.path / CHECKPOINTS / cell.checkpoint
        folder.parent.mkdir(exist_ok=True)
        found = finetune(self.plan.store, folder, self.plan.training(cell), listener=self.listener)
        return training_kept(found.history, chosen_preset(self.plan.training(cell)).train.window)

    def _keep(self, cell: Cell, training: dict[str, JSON] | None, scores: CellScores) -> None:
        for name, scored in scores.scored.items():
            self._same_queries(name.partition("/")[0], scored)
        found = CellResult(
            condition=cell.condition.name,
            seed=cell.seed,
            ranks={name: dict(one.ranks) for name, one in scores.scored.items()},
            training=training,
            more=scores.more,
        )
        self.folder.write_cell(cell.name, found.to_dict())  # last: a cell that has its file is not carried out again

    def _same_queries(self, split: str, scored: Scored) -> None:
        """All cells must be scored on the same queries, or they could not be paired."""
        kept = self.folder.read_cell(f"queries.{split}")
        if kept is None:
            self.folder.write_cell(f"queries.{split}", scored.queries.to_dict())
        elif Queries.from_dict(kept) != scored.queries:
            raise InputError(
                f"{self.plan.store} has other videos or captions in split {split!r} than when the experiment began: "
                "cells could not be compared. Give another folder"
            )


def training_kept(history: TrainingHistory, window: int) -> dict[str, JSON]:
    """What is kept of how a training went.

    Args:
        history: Its result.
        window: Evaluations over whose mean weights are chosen; those of the watched split are compared likewise.
    """
    kept: dict[str, JSON] = {
        "evaluations": [
            {key: getattr(one, key) for key in ("epoch", "step", "mean_loss", "validation_r1", "watched_t2v_r1")}
            for one in history.evaluations
        ],
        "best_evaluation": history.best_evaluation,
        "num_train_videos": history.num_train_videos,
        "num_val_videos": history.num_val_videos,
        "validation": history.validation,
        "chosen_on_test": history.chosen_on_test,
    }
    watched = [one.watched_t2v_r1 for one in history.evaluations if one.watched_t2v_r1 is not None]
    if watched:
        means = [window_mean(watched[: number + 1], window) for number in range(len(watched))]
        kept["watched_chosen"] = watched[history.best_evaluation - 1] / 100  # numbered from 1; percent to share
        kept["watched_best"] = watched[means.index(max(means))] / 100
    return kept


def _working(listener: Listener) -> Listener:
    """Of what a call within the experiment tells: its progress and, once each, its warnings."""
    told: set[str] = set()

    def hear(event: Event) -> None:
        if isinstance(event, RunPlanned | ItemsDone | StepDone):
            listener(event)
        elif isinstance(event, Message) and event.is_warning and event.text not in told:
            told.add(event.text)
            listener(event)

    return hear
