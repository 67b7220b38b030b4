"""Run records: what was run on a store, with which options, and how long it took. The only files with clock times."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from store.arrays import JSON
from store.files import StoreFolder


@dataclass(frozen=True)
class RunClock:
    """When a run began, by the calendar and by a clock that never goes back."""

    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    _monotonic: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self._monotonic


def record_run(
    folder: StoreFolder, command: str, clock: RunClock, options: Mapping[str, JSON], result: Mapping[str, JSON]
) -> str:
    """Write the record of a run that has ended.

    Args:
        folder: The store.
        command: Name of the command.
        clock: Started when the run did.
        options: All that was asked for, as it was understood, and the versions of the software.
        result: What came of it.

    Returns:
        Its name in the store.
    """
    stamp = clock.started.strftime("%Y%m%dT%H%M%S")
    name = f"runs/{stamp}-{command}-{os.getpid()}.json"
    record = {
        "command": command,
        "started": clock.started.isoformat(timespec="seconds"),
        "seconds": round(clock.seconds, 3),
        "options": options,
        "result": result,
    }
    folder.write(name, (json.dumps(record, indent=2) + "\n").encode())
    return name
