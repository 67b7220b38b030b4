"""Run records: what was run on a store, with which options, and how it ended. The only files with clock times."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from store.errors import StoreError
from store.formats.seal import BLANK, SEAL_KEY, sealed
from store.json_values import JSON
from store.places.folder import StoreFolder
from store.store import MANIFEST_NAME

DONE = "done"
INTERRUPTED = "interrupted"

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunClock:
    """When a run began, by the calendar and by a clock that never goes back."""

    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    _monotonic: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self._monotonic


@dataclass
class Run:
    """A run that is going on, and what its record will say."""

    name: str
    """Of the record in the store."""
    command: str
    clock: RunClock
    options: Mapping[str, JSON]
    """All that was asked for, as it was understood, and the versions of the software."""
    result: Mapping[str, JSON] = field(default_factory=dict)
    """What came of it; to be set before it ends."""
    is_recorded: bool = True
    """Whether the run is worth a record where it ends well."""


@contextmanager
def recorded_run(folder: StoreFolder, command: str, clock: RunClock, options: Mapping[str, JSON]) -> Iterator[Run]:
    """Write the record of a run when it ends: whether it is done, was interrupted, or failed, and by what.

    Args:
        folder: The store.
        command: Name of the command.
        clock: Started when the run did.
        options: All that was asked for.

    Yields:
        The run, whose `result` is to be set.
    """
    stamp = clock.started.strftime("%Y%m%dT%H%M%S")
    run = Run(f"runs/{stamp}-{command}-{os.getpid()}.json", command, clock, options)
    try:
        yield run
    except BaseException as error:
        ended = str(error) or type(error).__name__ if isinstance(error, Exception) else INTERRUPTED
        try:
            if folder.num_bytes(MANIFEST_NAME) is not None:  # else there is no store
                _write(folder, run, ended)
        except (StoreError, OSError) as second:
            _logger.info("the run that failed could not be recorded: %s", second)  # the first error is what counts
        raise
    if run.is_recorded:
        _write(folder, run, DONE)


def _write(folder: StoreFolder, run: Run, ended: str) -> None:
    record = {
        "command": run.command,
        "started": run.clock.started.isoformat(timespec="seconds"),
        "seconds": round(run.clock.seconds, 3),
        "ended": ended,
        "options": run.options,
        "result": run.result,
        SEAL_KEY: BLANK,
    }
    folder.write(run.name, sealed((json.dumps(record, indent=2) + "\n").encode()))
