"""Workers of this machine that are killed, or end by themselves, while they start; for real."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable
from multiprocessing.connection import Connection

import psutil
import pytest

from pipeline.run.events import Tell, ignore_events
from pipeline.workers import local_workers
from pipeline.workers.dask import local_dask, scheduler_here
from pipeline.workers.local_workers import MAX_KILLED
from pipeline.workers.worker_watch import NoWorkersError
from tests.forked import Forked, forked_worker


def process_id(task: int, tell: Tell) -> int:
    return os.getpid()


def wakings(task: int, tell: Tell) -> dict[str, float]:
    """What this worker does again and again, and how often a second."""
    from distributed import get_worker

    return {name: 1000 / callback.callback_time for name, callback in get_worker().periodic_callbacks.items()}


class Starts:
    """Counts the workers that are started, and gives each to a function that may end it."""

    def __init__(self, then: Callable[[int, Forked], object]) -> None:
        self.num, self._then = 0, then

    def __call__(self, address: str, lifeline: Connection, started: Connection) -> Forked:
        worker = forked_worker(address, lifeline, started)
        self.num += 1
        self._then(self.num, worker)
        return worker


@pytest.mark.parametrize(("num_killed", "number"), [(1, signal.SIGXCPU), (2 * MAX_KILLED, signal.SIGKILL)])
def test_workers_that_are_killed_while_they_start_are_replaced(
    monkeypatch: pytest.MonkeyPatch, num_killed: int, number: signal.Signals
) -> None:
    starts = Starts(lambda count, worker: os.kill(worker.pid, number) if count <= num_killed else None)
    monkeypatch.setattr(local_workers, "start_worker", starts)
    with local_dask(2) as executor:
        pids = set(executor(process_id, range(4), ignore_events))
    assert starts.num == 2 + num_killed
    assert os.getpid() not in pids


def test_a_worker_that_has_nothing_to_do_sleeps() -> None:
    with local_dask(1) as executor:
        end = time.monotonic() + 60
        while (found := next(executor(wakings, [0], ignore_events)))["heartbeat"] > 1 and time.monotonic() < end:
            time.sleep(0.05)  # the first sign of life comes after half a second, and slows down the others
    assert sum(found.values()) < 5, found  # Dask's own: 150


def test_the_run_ends_if_every_worker_is_killed_while_it_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    starts = Starts(lambda count, worker: worker.kill())
    monkeypatch.setattr(local_workers, "start_worker", starts)
    with pytest.raises(NoWorkersError, match="^4 worker processes were killed .* by signal 9, probably"), local_dask(1):
        pass
    assert starts.num == MAX_KILLED + 1


def test_a_worker_that_cannot_start_ends_the_run_at_once_with_what_it_said(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A new interpreter, as every worker is outside of tests."""
    monkeypatch.setattr(local_workers, "start_worker", START)
    monkeypatch.setenv("PYTHONHASHSEED", "no seed")
    with (
        pytest.raises(NoWorkersError, match=r"did not start \(exit code 1\); its message is on stderr"),
        local_dask(1),
    ):
        pass
    assert "PYTHONHASHSEED must be" in capfd.readouterr().err


START = local_workers.start_worker
"""As it is when the module is imported, before the fixture of the session replaces it."""


def test_workers_are_replaced_and_end_with_the_run() -> None:
    with local_dask(1) as executor:
        (first,) = executor(process_id, [0], ignore_events)
        psutil.Process(first).kill()
        (second,) = executor(process_id, [0], ignore_events)
    assert second != first
    assert not psutil.pid_exists(second)


def test_the_callers_logging_is_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """A notebook may have a Dask of its own, and wants to hear of it."""
    logger = logging.getLogger("distributed")
    monkeypatch.setattr(logger, "level", logging.INFO)
    with scheduler_here():
        assert logger.level == logging.CRITICAL
    assert logger.level == logging.INFO
