"""Run records: what was run on a store, with which options, and how it ended. The only files with clock times."""

from __future__ import annotations

import json
import logging
import math
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from store.errors import StoreError, StoreFormatError
from store.formats.seal import BLANK, SEAL_KEY, check_sealed, sealed
from store.json_values import JSON
from store.places.folder import StoreFolder
from store.remedies import REMOVE
from store.store import MANIFEST_NAME

DONE = "done"
INTERRUPTED = "interrupted"

REMEDY = f"nothing depends on it, and {REMOVE}"
"""For a run record that is damaged."""

_FIELDS: Mapping[str, tuple[type, ...]] = {
    "command": (str,),
    "started": (str,),
    "seconds": (int, float),
    "ended": (str,),
}
"""The fields of a record that are read again, with their types."""

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


@dataclass(frozen=True, slots=True)
class PastRun:
    """A run on a store that has ended, from its record. A run that was killed outright leaves none."""

    name: str
    """Of the record in the store."""
    command: str
    started: str
    """Date and time, ISO 8601, in UTC."""
    seconds: float
    ended: str
    """`done`, `interrupted`, or the message of the error that it failed with."""
    options: Mapping[str, JSON]
    result: Mapping[str, JSON]

    @classmethod
    def of(cls, name: str, record: Mapping[str, JSON]) -> PastRun:
        """Take what `read_run` has checked."""
        command, started, ended = (str(record[key]) for key in ("command", "started", "ended"))
        options, result = (one if isinstance(one := record.get(key), Mapping) else {} for key in ("options", "result"))
        return cls(name, command, started, float(str(record["seconds"])), ended, options, result)

    @property
    def is_done(self) -> bool:
        """Whether it came to its end."""
        return self.ended == DONE

    @property
    def is_interrupted(self) -> bool:
        """Whether it was stopped from outside: the same command continues it."""
        return self.ended == INTERRUPTED

    def to_dict(self) -> dict[str, JSON]:
        """What was run, when, how long and how it ended, as JSON."""
        return {key: getattr(self, key) for key in _FIELDS}


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
    run = Run(_free_name(folder, command, clock.started), command, clock, options)
    try:
        yield run
    except BaseException as error:
        # KeyboardInterrupt and SystemExit are no `Exception`: Ctrl-C, or a signal of a batch system.
        ended = str(error) or type(error).__name__ if isinstance(error, Exception) else INTERRUPTED
        try:
            if folder.num_bytes(MANIFEST_NAME) is not None:  # else there is no store
                _write(folder, run, ended)
        except (StoreError, OSError) as second:
            _logger.info("the run that failed could not be recorded: %s", second)  # the first error is what counts
        raise
    if run.is_recorded:
        _write(folder, run, DONE)


def read_run(folder: StoreFolder, name: str) -> Mapping[str, JSON]:
    """Read a run record: its command, when it started, how many seconds it took, how it ended, and more.

    Raises:
        StoreMissingError: There is none.
        StoreFormatError: It was changed since it was written, or is no run record.
    """
    content = folder.read(name)
    check_sealed(content, name, REMEDY)
    try:
        record: dict[str, JSON] = json.loads(content)
        for key, kinds in _FIELDS.items():
            if type(record[key]) not in kinds:
                raise ValueError(f"its {key} is {record[key]!r:.100}")
        if not 0 <= float(record["seconds"]) < math.inf:  # type: ignore[arg-type]  # a number, by the line above
            raise ValueError(f"its seconds are {record['seconds']}")
        datetime.fromisoformat(str(record["started"]))
        return record
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise StoreFormatError(f"{name} is not a run record ({error}): {REMEDY}") from error


def _free_name(folder: StoreFolder, command: str, started: datetime) -> str:
    """The name of a new record: two runs of a process within a second have two names, which sort in this order."""
    name = f"runs/{started:%Y%m%dT%H%M%S}-{command}-{os.getpid()}.json"
    taken = folder.num_bytes(name) is not None
    return _free_name(folder, command, started + timedelta(seconds=1)) if taken else name


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
