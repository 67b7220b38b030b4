"""Time that counts only while this process can run, for limits on what others do."""

from __future__ import annotations

import time

SLICE_SECONDS = 0.5
"""Who waits, waits so long at a time, and looks at the clock."""
LONGEST_STEP_SECONDS = 1.0
"""Counted from one look at the clock to the next, at most."""


class RunningTime:
    """Seconds since its beginning in which this process could run.

    Ctrl-Z, a batch system that suspends a job, or a frozen container stops all processes of a run; clocks go on, and
    nothing tells them of it. But no look at the clock is made meanwhile: so a long step between two looks counts
    little. It must be looked at often. Of one thread at a time.

    >>> running = RunningTime()
    >>> running.seconds() < 1
    True
    """

    __slots__ = ("_looked_at", "_seconds")

    def __init__(self) -> None:
        """Begin."""
        self.restart()

    def restart(self) -> None:
        """Begin again."""
        self._seconds, self._looked_at = 0.0, time.monotonic()

    def seconds(self) -> float:
        """Look at the clock."""
        now = time.monotonic()
        # A longer step is time in which this process did not run: nobody could look.
        self._seconds += min(now - self._looked_at, LONGEST_STEP_SECONDS)
        self._looked_at = now
        return self._seconds
