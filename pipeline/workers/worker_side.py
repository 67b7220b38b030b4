"""What a Dask worker runs: one task at a time, which reports its progress now and then."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable
from dataclasses import astuple, dataclass
from threading import Lock
from typing import TYPE_CHECKING, Self, TypeVar

from pipeline.run.events import ItemsDone, Tell
from pipeline.workers.preflight import Preflight, check_here

if TYPE_CHECKING:
    from distributed import Worker

Task = TypeVar("Task")
Report = TypeVar("Report")

SECONDS_BETWEEN_MESSAGES = 0.1
"""A worker sends its progress no more often: a thousand videos a second must not become a thousand messages."""

_sent_at: dict[str, float] = {}
"""Address of a worker in this process -> when it last sent its progress."""

_AT_WORK = Lock()
"""Held by the task that runs. A worker that was started with several threads still runs one task at a time, because the
memory that a worker takes is computed for one task and its decoder."""


@dataclass(frozen=True, slots=True)
class Telling:
    """How workers report their progress."""

    topic: str
    """Where the coordinator listens."""
    seconds_between: float = SECONDS_BETWEEN_MESSAGES
    """Of one worker, so that all together do not flood the coordinator."""


@dataclass(frozen=True, slots=True)
class Progress:
    """What a worker tells of a task."""

    key: str
    """Of the task."""
    total: ItemsDone
    """All its items so far."""
    report: bytes | None = None
    """Pickled, in the last message of a task that ended well."""

    def to_message(self) -> tuple[str, tuple[int, ...], bytes | None]:
        """As Dask sends it."""
        return self.key, astuple(self.total), self.report

    @classmethod
    def from_message(cls, message: tuple[str, tuple[int, ...], bytes | None]) -> Self:
        """The inverse of `to_message`."""
        key, numbers, report = message
        return cls(key, ItemsDone(*numbers), report)


def run_and_tell(
    function: Callable[[Task, Tell], Report], telling: Telling, preflight: Preflight | None, key: str, task: Task
) -> None:
    """Run one task, and send its report.

    Args:
        function: Runs the task, and returns its report.
        telling: How it reports its progress.
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
    messages = _Messages(worker, telling, key)
    # The check above does not wait for it: an unfit worker is told of while another of its threads still works.
    with _AT_WORK:
        try:
            report = function(task, messages)
        except Exception as error:
            _cut_circle(error)
            raise
    messages.send(report)


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
    soon after a message are in the next one, at the latest in that with the report of the task.
    """

    def __init__(self, worker: Worker, telling: Telling, key: str) -> None:
        self._worker, self._telling, self._key = worker, telling, key
        self.total = ItemsDone()

    def __call__(self, items: ItemsDone) -> None:
        self.total += items
        now, address = time.monotonic(), self._worker.address
        if now - _sent_at.get(address, -self._telling.seconds_between) >= self._telling.seconds_between:
            _sent_at[address] = now
            self._send(None)

    def send(self, report: object) -> None:
        """Send the report. The coordinator would have to ask for a result, which takes two more requests."""
        self._send(pickle.dumps(report))

    def _send(self, report: bytes | None) -> None:
        self._worker.log_event(self._telling.topic, Progress(self._key, self.total, report).to_message())
