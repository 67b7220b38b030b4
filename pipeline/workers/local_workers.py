"""The Dask workers of this machine: processes that are started, replaced if they end, and killed with the run.

Not Dask's own: its nannies talk to their workers through semaphores in /dev/shm, and a nanny whose worker is killed
while it starts ends the run.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe
from multiprocessing.connection import wait as wait_for
from typing import Protocol

from pipeline.isolation.children import start_child
from pipeline.workers.worker_watch import NoWorkersError

MAX_KILLED = 3
"""So many times the number of workers may be killed one after the other while they start: then the run ends."""
START_SECONDS = 300.0
"""How long workers may take to start: a second on an idle machine, a minute from a network disk."""
_END_SECONDS = 2.0
"""How long a worker whose scheduler has ended may take to remove its folder."""
_ENVIRONMENT = {"MALLOC_TRIM_THRESHOLD_": str(1 << 16)}
"""As Dask sets it: memory that is free goes back to the system, also in small pieces."""


class Process(Protocol):
    """What is used of `subprocess.Popen`."""

    def poll(self) -> int | None:
        """How it ended: its exit code, or the negative number of a signal; None while it runs."""

    def kill(self) -> None:
        """Send SIGKILL."""

    def wait(self) -> int:
        """Wait for its end."""


def start_worker(address: str, lifeline: Connection, started: Connection) -> Process:
    """Start the program of `pipeline.workers.local_worker`."""
    inherited = [lifeline.fileno(), started.fileno()]
    return start_child("pipeline.workers.local_worker", [address, *map(str, inherited)], inherited, _ENVIRONMENT)


@dataclass(slots=True)
class _Worker:
    """One process, with our ends of its pipes."""

    process: Process
    lifeline: Connection
    started: Connection
    has_started: bool = False

    def look(self) -> int | None:
        """Note whether it has started; how it ended, if it did."""
        # In this order. Asked the other way round, a worker that tells its start and dies between the two questions
        # would be taken for one that cannot start.
        code = self.process.poll()
        if not self.has_started and self.started.poll():
            try:
                self.started.recv()
                self.has_started = True
            except EOFError:
                code = self.process.wait()
        return code

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self.lifeline.close()
        self.started.close()


class LocalWorkers:
    """A number of workers of one scheduler."""

    def __init__(self, address: str, num_workers: int) -> None:
        """Of the scheduler at `address`, so many at any time. None is started yet: see `wait`."""
        self._address, self._num_workers = address, num_workers
        self._workers: list[_Worker] = []
        self._num_killed = 0
        """One after the other, while they started."""

    def refill(self) -> None:
        """Start one in the place of each that has ended.

        Raises:
            NoWorkersError: One cannot start, or all are killed while they start.
        """
        for worker in list(self._workers):
            code = worker.look()
            if worker.has_started:
                self._num_killed = 0
            if code is not None:
                self._workers.remove(worker)
                worker.close()
                if not worker.has_started:
                    self._check_start(code)
        while len(self._workers) < self._num_workers:
            self._workers.append(self._new())

    def wait(self) -> None:
        """Start them, and wait until all have started.

        Raises:
            NoWorkersError: See `refill`, or it takes more than `START_SECONDS`.
        """
        self.refill()
        end = time.monotonic() + START_SECONDS
        while waited_for := [worker.started for worker in self._workers if not worker.has_started]:
            if not wait_for(waited_for, end - time.monotonic()):
                raise NoWorkersError(f"worker processes do not start here within {START_SECONDS:g} s: use --workers 0")
            self.refill()

    def close(self) -> None:
        """End them: at once, or a little later if the scheduler has told them to."""
        end = time.monotonic() + _END_SECONDS
        # One that is still starting has no folder, and the scheduler does not know it.
        while any(worker.look() is None and worker.has_started for worker in self._workers) and time.monotonic() < end:
            time.sleep(0.01)
        for worker in self._workers:
            worker.close()
        self._workers.clear()

    def _new(self) -> _Worker:
        their_lifeline, lifeline = Pipe(duplex=False)
        started, their_started = Pipe(duplex=False)
        # The child has copies. With ours open, neither side would see the other's end.
        with their_lifeline, their_started:
            return _Worker(start_worker(self._address, their_lifeline, their_started), lifeline, started)

    def _check_start(self, code: int) -> None:
        """Raise if another one would not start either."""
        if code >= 0:
            raise NoWorkersError(
                f"a worker process did not start (exit code {code}); its message is on stderr: repair that, or work "
                "in this process with --workers 0"
            )
        self._num_killed += 1
        if self._num_killed > MAX_KILLED * self._num_workers:
            raise NoWorkersError(
                f"{self._num_killed} worker processes were killed one after the other while they started, the last by "
                f"signal {-code}, probably because memory ran out: use fewer --workers, or --workers 0"
            )
