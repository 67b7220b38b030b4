"""The claim and the record of a run that writes into a store."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from pipeline.run.events import Reporter
from pipeline.run.options import RunOptions
from pipeline.run.partition import WHOLE
from pipeline.run.records import Run, RunClock, recorded_run
from store.claims.holding import claimed, ignore_removed
from store.json_values import JSON
from store.places.folder import StoreFolder


@dataclass(frozen=True, slots=True)
class Job:
    """What a command is about to write."""

    command: str
    """Its name, without `fda`."""
    stages: Sequence[str]
    """Stages of the store that it writes: two jobs with a stage in common exclude each other."""
    inputs: JSON = None
    """What the parts of one array job share, and other jobs do not: parts of one job run beside each other."""
    recorded: Mapping[str, JSON] | None = None
    """What the run record says was asked for; None: the run is not recorded."""


@contextmanager
def claim_on(
    folder: StoreFolder,
    job: Job,
    run: RunOptions,
    report: Reporter,
    on_removed: Callable[[Sequence[str]], object] = ignore_removed,
) -> Iterator[StoreFolder]:
    """Hold a claim on the store while the block runs; arguments as for `claimed`.

    Yields:
        The folder through which to write.

    Raises:
        StoreBusyError: Another run writes the same, and `run.wait` is not set.
    """
    fingerprint = hashlib.sha256(json.dumps(job.inputs, default=str, sort_keys=True).encode()).hexdigest()
    with claimed(
        folder,
        f"fda {job.command}",
        job.stages,
        partition=None if run.partition == WHOLE else str(run.partition),
        inputs=fingerprint,
        wait_seconds=None if run.wait else 0,
        say=report.say,
        on_removed=on_removed,
    ) as mine:
        yield mine


@contextmanager
def recorded(folder: StoreFolder, job: Job, clock: RunClock) -> Iterator[Run]:
    """Write the run record at the end of the block: how it ended, with the result that the block sets."""
    with recorded_run(folder, job.command, clock, job.recorded or {}) as run:
        yield run
