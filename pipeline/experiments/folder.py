"""The folder of an experiment: what was asked for, the cells that are done, and what is written at the end.

experiment.json   what was asked for; written first
data/, store/     generated videos, and the store of them; not there if a store was given
checkpoints/      a checkpoint for each condition that trains, and each seed
cells/            a file for each cell that is done, each mask set that was measured, and the queries of each split
results.json      all of them: the tables below are written from this file alone
report.md, results.csv, commands.sh, figures as .svg and .png
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from encoders.replacing import PARTIAL, replacing
from pipeline.errors import InputError, PipelineError
from pipeline.run.files import LOCK_FILE, locked_folder
from store.json_values import JSON, differences

ASKED_FILE = "experiment.json"
RESULTS_FILE = "results.json"
FORMAT = 2
_NOT_COMPARED = ("software",)
"""Recorded of an experiment, but not compared: it may be resumed with other versions."""


class ExperimentMismatchError(PipelineError, ValueError):
    """The folder contains another experiment, or something else."""


class ExperimentBusyError(PipelineError, RuntimeError):
    """Another run is working in the folder."""


@dataclass(frozen=True, slots=True)
class ExperimentFolder:
    """Where an experiment is kept. Every file is written whole or not at all."""

    path: Path

    @property
    def results(self) -> Path:
        """All numbers."""
        return self.path / RESULTS_FILE

    def cell(self, name: str) -> Path:
        """The file of a cell, of a mask set (`masks.NAME`) or of the queries of a split (`queries.NAME`)."""
        return self.path / "cells" / f"{name}.json"

    def read_cell(self, name: str) -> dict[str, Any] | None:
        """What a cell has found; None if it is not done.

        Raises:
            InputError: The file is damaged.
        """
        path = self.cell(name)
        return read_json(path) if path.is_file() else None

    def write_cell(self, name: str, found: Mapping[str, JSON]) -> None:
        """Keep what a cell has found: from now on it is done."""
        self.cell(name).parent.mkdir(exist_ok=True)
        write_text(self.cell(name), json.dumps(found, allow_nan=False) + "\n")

    def check(self, asked: Mapping[str, JSON]) -> None:
        """Refuse a folder of something else, or of an experiment that was asked for otherwise.

        Raises:
            ExperimentMismatchError: It is one; the message names the difference.
        """
        others = self._made()
        if not others:
            return
        recorded = self.asked()
        if recorded is None:
            raise ExperimentMismatchError(
                f"{self.path} contains {others[0]!r}, and no experiment of fda: give another folder"
            )
        before, now = (
            {key: value for key, value in one.items() if key not in _NOT_COMPARED} for one in (recorded, asked)
        )
        if changed := differences(before, now, where=f"in {self.path}"):
            raise ExperimentMismatchError(
                f"{self.path} has an experiment that was asked for otherwise: {changed}. Give another folder"
            )

    def asked(self) -> dict[str, Any] | None:
        """What was asked for when the experiment began; None if there is none."""
        path = self.path / ASKED_FILE
        return read_json(path) if path.is_file() else None

    def _made(self) -> list[str]:
        """What lies in the folder beside the record of what was asked for; nothing where that was refused."""
        own = (LOCK_FILE, ASKED_FILE, PARTIAL.format(ASKED_FILE))
        others = sorted(one.name for one in self.path.iterdir()) if self.path.is_dir() else []
        return [name for name in others if name not in own]

    def begin(self, asked: Mapping[str, JSON]) -> None:
        """Record what was asked for, unless something is made by an earlier record."""
        # Until something is made, what was asked for may be changed: a run that was refused has recorded it already.
        if not self._made() or self.asked() is None:
            write_text(self.path / ASKED_FILE, json.dumps(asked, indent=2, allow_nan=False) + "\n")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Make the folder if needed, and lock it against other runs; the system frees the lock with the process.

        Raises:
            ExperimentBusyError: Another run has the lock.
        """
        busy = ExperimentBusyError(
            f"another `fda experiment` is working in {self.path}: wait for it, or give another folder"
        )
        with locked_folder(self.path, busy):
            for partial in (*self.path.glob(PARTIAL.format("*")), *self.path.glob(f"cells/{PARTIAL.format('*')}")):
                shutil.rmtree(partial, ignore_errors=True)  # left by a killed run
            yield


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        InputError: The file is not one.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise ValueError("it is not an object")
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            f"{path} cannot be read ({error}): put it back from a copy, or remove it, and run again"
        ) from error
    return found


def write_text(path: Path, text: str) -> None:
    """Write a file in one step."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
