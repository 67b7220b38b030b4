"""`fda experiment`, as one function: plan, say what it costs, carry out, write."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

from pipeline.command_lines.flags import flags_of
from pipeline.errors import InputError, OptionError
from pipeline.experiments.carry_out import CarryingOut
from pipeline.experiments.commands import commands_of
from pipeline.experiments.cost import Cost, cost_of
from pipeline.experiments.data import data_commands, generated, make_data, subject_of
from pipeline.experiments.findings import Findings
from pipeline.experiments.folder import ExperimentFolder
from pipeline.experiments.kind import Kind, Subject
from pipeline.experiments.kinds.table import KINDS
from pipeline.experiments.masks import TRUTH
from pipeline.experiments.options import PAPER_THRESHOLDS, ExperimentKind, ExperimentOptions
from pipeline.experiments.plan import Plan, weights_of
from pipeline.experiments.results import Results
from pipeline.experiments.writing import write_files
from pipeline.run.events import Listener, Reporter, ignore_events
from pipeline.run.fields import check_kinds, local_path
from pipeline.run.files import is_in_store
from pipeline.run.overwriting import UnconfirmedError
from pipeline.run.records import RunClock
from pipeline.run.software import MODEL_SOFTWARE, software_versions
from store.json_values import JSON
from store.store import Store

MINUTES_UNASKED = 60
"""An experiment that is estimated to take longer begins only if `ExperimentOptions.yes` is set."""


@dataclass(frozen=True, slots=True)
class ExperimentPreview:
    """What an experiment would do."""

    kind: ExperimentKind
    folder: Path
    plan: Plan
    cost: Cost
    """Of what is still to be done."""

    def to_dict(self) -> dict[str, JSON]:
        """The preview as JSON."""
        return {"folder": str(self.folder.absolute()), "plan": self.plan.to_dict(), "cost": self.cost.to_dict()}


@dataclass(frozen=True)
class ExperimentResult:
    """What an experiment has found."""

    kind: ExperimentKind
    question: str
    folder: Path
    findings: Findings
    """The answer, and the tables."""
    results: Results
    """All numbers: ranks of every query, by condition and seed."""
    files: tuple[Path, ...]
    """That were written from `results`."""
    seconds: float
    warnings: tuple[str, ...]

    @property
    def answer(self) -> str:
        """One or a few sentences, with the intervals that carry them."""
        return self.findings.answer

    def to_dict(self) -> dict[str, JSON]:
        """The result as JSON; the ranks are in `results.json`."""
        return {
            "kind": str(self.kind),
            "question": self.question,
            "answer": self.answer,
            "quick": self.results.is_quick,
            "tables": {table.name: table.to_dict() for table in self.findings.tables},
            "folder": str(self.folder.absolute()),
            "files": [str(path.absolute()) for path in self.files],
            "seconds": round(self.seconds, 1),
            "warnings": list(self.warnings),
        }


def experiment(
    kind: ExperimentKind | str,
    folder: str | PathLike[str],
    options: ExperimentOptions | None = None,
    *,
    listener: Listener = ignore_events,
) -> ExperimentResult:
    """Carry out an experiment in a folder, or write its tables again from its results.

    Killed at any moment and called again, it goes on where it was: with the step of the training, the shard of the
    encoding. With a store that is given, mask sets and feature sets are written into it, as `fda masks` and
    `fda encode` do; features are named `<kind>.<condition>.s<seed>`.

    Args:
        kind: Which question.
        folder: A local folder, for everything else.
        options: On what, how often, and how models are trained.
        listener: Hears how far it is.

    Raises:
        ExperimentMismatchError: The folder has another experiment, or something else.
        ExperimentBusyError: Another run is working there.
        InputError: The folder lies in the store; or the store lacks a split, the truth where it is asked for, or
            frames of the size that the model reads.
        UnconfirmedError: It would take over `MINUTES_UNASKED`, and `options.yes` is not set.
    """
    asked = _Asked.of(kind, folder, options)
    clock, report = RunClock(), Reporter(listener)
    asked.folder.check(asked.to_dict())
    # Without the lock, as it may take minutes and ask for more; nothing is written by it.
    planned = None if asked.folder.results.is_file() else asked.confirmed(report)
    with asked.folder.locked():
        asked.folder.check(asked.to_dict())  # again: another run may have begun here
        if planned is None:
            report.say(f"nothing to do: {asked.folder.results} is complete; tables are written from it")
            results = Results.read(asked.folder.results)
        else:
            results = asked.carry_out(*planned, report)
        found = asked.kind.findings(results)
        files = write_files(asked.folder.path, asked.kind, results, found)
    return ExperimentResult(
        kind=asked.kind.name,
        question=asked.kind.question,
        folder=asked.folder.path,
        findings=found,
        results=results,
        files=(asked.folder.results, *files),
        seconds=clock.seconds,
        warnings=report.warnings,
    )


def preview_experiment(
    kind: ExperimentKind | str, folder: str | PathLike[str], options: ExperimentOptions | None = None
) -> ExperimentPreview:
    """What `experiment` would do, and what it would cost; nothing is written, and no weights are read or downloaded.

    Raises:
        ExperimentMismatchError: The folder has another experiment, or something else.
        InputError: The folder lies in the store; or the store lacks a split, the truth where it is asked for, or
            frames of the size that the model reads.
    """
    asked = _Asked.of(kind, folder, options)
    asked.folder.check(asked.to_dict())
    subject, plan = asked.planned()
    cost = cost_of(asked.kind, plan, subject, asked.folder, is_preview=True)
    return ExperimentPreview(asked.kind.name, asked.folder.path, plan, cost)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What an experiment was asked for."""

    kind: Kind
    folder: ExperimentFolder
    options: ExperimentOptions

    @classmethod
    def of(cls, kind: ExperimentKind | str, folder: str | PathLike[str], options: ExperimentOptions | None) -> _Asked:
        options, place = options or ExperimentOptions(), local_path(folder)
        check_kinds(options=(options, ExperimentOptions))
        if kind not in tuple(ExperimentKind):
            raise OptionError(f"there is no experiment {kind!r}: there are {', '.join(ExperimentKind)}")
        if ExperimentKind(kind) is not ExperimentKind.TAU and options.thresholds != PAPER_THRESHOLDS:
            raise OptionError(f"thresholds are for the experiment 'tau', and this is {str(kind)!r}: leave them out")
        found = KINDS[ExperimentKind(kind)]
        if options.store is not None and is_in_store(place, options.store):
            raise InputError(
                f"{folder} would lie in the store {options.store}, which has its own files only: give another folder"
            )
        if options.conditions and found.why_whole:
            raise OptionError(f"the experiment {str(kind)!r} has no choice of conditions: {found.why_whole}")
        return cls(found, ExperimentFolder(place), options)

    def to_dict(self) -> dict[str, JSON]:
        """What decides the experiment: a folder has one of them."""
        one = self.options
        return {
            "kind": str(self.kind.name),
            "store": one.store,
            "seeds": list(one.random_seeds),
            "quick": one.quick,
            "size": str(one.size),
            "factors": {name: str(level) for name, level in one.factors.items()},
            "num_train": one.num_train,
            "num_eval": one.num_eval,
            # However they were ordered or repeated on the command line, it is the same experiment.
            "conditions": sorted({*one.conditions}),
            "preset": one.preset,
            "settings": {key: str(value) for key, value in one.settings.items()},
            **weights_of(one),
            # Only where it is set: a folder that does not name it has it unset.
            **({"resize_frames": True} if one.resize_frames else {}),
            "test_split": one.test_split,
            "thresholds": list(one.thresholds),
            "software": dict(software_versions(MODEL_SOFTWARE)),
        }

    def planned(self) -> tuple[Subject, Plan]:
        subject = subject_of(self.folder.path, self.kind, self.options)
        plan = self.kind.plan(subject, self.options)
        if not subject.has_truth and TRUTH.name in self.options.conditions:
            # Only to find out whether that condition is one of this experiment: its error then names the remedy.
            with_truth = self.kind.plan(replace(subject, has_truth=True), self.options)
            if TRUTH.name in (one.name for one in with_truth.conditions):
                raise InputError(
                    f"{subject.store} has no mask set {TRUTH.name!r}, which the condition of this name reads: "
                    f"`fda import-masks {subject.store} FOLDER --masks {TRUTH.name}` takes one from files"
                )
        return subject, plan.only(self.options.conditions) if self.options.conditions else plan

    def confirmed(self, report: Reporter) -> tuple[Subject, Plan]:
        """What is to be done; says what it costs, before anything is written."""
        subject, plan = self.planned()
        cost = cost_of(self.kind, plan, subject, self.folder)
        report.say(str(cost))
        if cost.minutes > MINUTES_UNASKED and not self.options.yes:
            raise UnconfirmedError(
                f"this is estimated to take {cost.minutes:.0f} min, over {MINUTES_UNASKED}: set yes (--yes) to begin"
            )
        return subject, plan

    def carry_out(self, subject: Subject, plan: Plan, report: Reporter) -> Results:
        """Make the data, and all cells that are pending."""
        self.folder.begin(self.to_dict())
        make_data(self.folder.path, self.kind, self.options, report.listener)
        results = CarryingOut.of(self.kind, plan, self.folder, report).results(self._about(subject, plan))
        results.write(self.folder.results)
        # As a later call reads them, so that both write the same tables: JSON has no tuples and no NumPy numbers.
        return Results.read(self.folder.results)

    def _about(self, subject: Subject, plan: Plan) -> Mapping[str, Any]:
        place = self.folder.path
        return {
            "asked": self.to_dict(),
            "asked_by": ["fda", "experiment", str(self.kind.name), str(place), *self._flags()],
            "plan": plan.to_dict(),
            "data": self._data(subject),
            "num_videos": dict(subject.num_videos),
            "software": dict(software_versions(MODEL_SOFTWARE)),
            "commands": [
                *data_commands(place, self.kind, self.options),
                *commands_of(plan, place),
                *self.kind.commands(plan, place),
            ],
        }

    def _data(self, subject: Subject) -> str:
        """What was worked on, in words."""
        if not subject.is_generated:
            return f"data set {Store.open(subject.store).manifest.dataset['name']!r} in {subject.store}"
        made = generated(self.kind, self.options)
        return f"generated videos: suite {made.suite}, size {made.size}, seed {made.seed}"

    def _flags(self) -> list[str]:
        one, defaults = self.options, ExperimentOptions()
        fields: dict[str, JSON] = {
            "store": one.store,
            # A quick experiment has a number of its own.
            "seeds": None if one.quick else one.seeds,
            "seed": one.seed,
            "quick": one.quick,
            "size": str(one.size),
            "num_train": one.num_train,
            "num_eval": one.num_eval,
            "conditions": ",".join(one.conditions) or None,
            "preset": one.preset,
            **weights_of(one),
            "resize_frames": one.resize_frames,
            "test_split": one.test_split,
            "thresholds": None
            if one.thresholds == defaults.thresholds
            else ",".join(f"{value:g}" for value in one.thresholds),
        }
        plain = {"seeds": defaults.seeds, "seed": 0, "size": str(defaults.size), "test_split": "test"}
        settings = [word for key, value in one.settings.items() for word in ("--set", f"{key}={value}")]
        factors = [word for name, level in one.factors.items() for word in ("--factor", f"{name}={level}")]
        return [*flags_of(fields, plain), *factors, *settings]
