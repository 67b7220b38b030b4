"""What a Dask worker runs: one task at a time, which tells of its items now and then."""

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
"""A worker tells of its items no more often: a thousand videos a second are a few messages then, not a thousand."""

_AT_WORK = Lock()
"""A worker that was started with several threads works on one task at a time all the same: a task has one decoder, and
what memory a worker takes is computed for one."""


def run_and_tell(
    function: Callable[[Task, Tell], Report], topic: str, preflight: Preflight | None, key: str, task: Task
) -> Report:
    """Run one task.

    Args:
        function: Makes the report.
        topic: Of the messages to the coordinator.
        preflight: What this process must have to work at all.
        key: Of the task, for the messages.
        task: To run.

    Raises:
        UnfitWorkerError: This process lacks something.
    """
    from distributed import get_worker

    worker = get_worker()
    if preflight is not None:
        check_here(preflight, worker.address)
    messages = _Messages(worker, topic, key)
    with _AT_WORK:
        report = function(task, messages)
    messages.send()
    return report


class _Messages:
    """Sums up the items of one task, and sends the sum to the coordinator now and then.

    Sums, and not each item: a message that is lost or comes twice does no harm. What is done within
    `SECONDS_BETWEEN_MESSAGES` of a message goes with the next one, at the latest at the end of the task.
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
