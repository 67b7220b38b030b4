"""What a Dask worker runs: one task at a time, which reports its progress now and then."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import astuple
from threading import Lock
from typing import TYPE_CHECKING, TypeVar

from pipeline.run.events import ItemsDone, Tell
from pipeline.workers.preflight import Preflight, check_here

if TYPE_CHECKING:
    from distributed import Worker

Task = TypeVar("Task")
Report = TypeVar("Report")

SECONDS_BETWEEN_MESSAGES = 0.1
"""Progress is sent no more often: a thousand videos a second must not become a thousand messages."""

_AT_WORK = Lock()
"""Held by the task that runs. A worker that was started with several threads still runs one task at a time, because the
memory that a worker takes is computed for one task and its decoder."""


def run_and_tell(
    function: Callable[[Task, Tell], Report], topic: str, preflight: Preflight | None, key: str, task: Task
) -> Report:
    """Run one task.

    Args:
        function: Runs the task, and returns its report.
        topic: Where the coordinator listens for progress.
        preflight: What this process must have.
        key: Of the task, in the messages.
        task: The task.

    Raises:
        UnfitWorkerError: This process lacks something.
    """
    from distributed import get_worker

    worker = get_worker()
    if preflight is not None:
        check_here(preflight, worker.address)
    messages = _Messages(worker, topic, key)
    with _AT_WORK:
        try:
            report = function(task, messages)
        except Exception as error:
            _cut_circle(error)
            raise
    messages.send()
    return report


def _cut_circle(error: BaseException) -> None:
    """End a chain of causes that leads back into itself (`raise error from error`): Dask would follow it for ever."""
    seen = {id(error)}
    while (cause := error.__cause__) is not None:
        if id(cause) in seen:
            error.__cause__ = None
            return
        seen.add(id(cause))
        error = cause


class _Messages:
    """Counts the items of one task, and sends the counts to the coordinator now and then.

    Sends totals, not single items, so that a message that is lost or arrives twice does no harm. Items that are done
    within `SECONDS_BETWEEN_MESSAGES` of a message are in the next one, which at the latest is sent when the task ends.
    """

    def __init__(self, worker: Worker, topic: str, key: str) -> None:
        self._worker, self._topic, self._key = worker, topic, key
        self._total = ItemsDone()
        self._sent_at = -SECONDS_BETWEEN_MESSAGES

    def __call__(self, items: ItemsDone) -> None:
        self._total += items
        if time.monotonic() - self._sent_at >= SECONDS_BETWEEN_MESSAGES:
            self.send()

    def send(self) -> None:
        self._sent_at = time.monotonic()
        self._worker.log_event(self._topic, (self._key, astuple(self._total)))
