"""Running a plan. `run_synchronously` is the specification: every other executor yields the same results, in any order.

A task carries what it needs and writes what it makes into the store itself; only its report travels back, and while it
is at work, how many items it has done.
"""

from __future__ import annotations

import logging
import signal
import time
import uuid
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import astuple
from functools import partial
from multiprocessing import resource_tracker
from queue import SimpleQueue
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from pipeline.events import ItemsDone, Tell
from pipeline.isolation.signals import signals_blocked
from pipeline.resources import ONE_THREAD

if TYPE_CHECKING:
    from distributed import Client, Future, Worker

Task = TypeVar("Task")
Report = TypeVar("Report")

TASKS_PER_WORKER = 2
"""Tasks in flight for each worker: one at work, one waiting. Bounds what the coordinator holds."""

MAX_ATTEMPTS = 3
"""A task whose worker died is tried on this many workers in all."""

SECONDS_BETWEEN_MESSAGES = 0.1
"""A worker tells of its items no more often: a thousand videos a second are a few messages then, not a thousand."""


class Executor(Protocol):
    """Calls a function on each task, and yields each report as it comes."""

    def __call__(
        self, function: Callable[[Task, Tell], Report], tasks: Iterable[Task], tell: Tell
    ) -> Generator[Report]:
        """Run all tasks. The first error ends the run: what is committed by then stands.

        Args:
            function: Makes the report of a task, and tells of each item that is done.
            tasks: Drawn as they are needed.
            tell: Is told of the items in this thread, soon after they are done. An item of a task that is begun again
                is told of once.
        """


class WorkerDiedError(RuntimeError):
    """A task killed the workers that it ran on."""


def run_synchronously(function: Callable[[Task, Tell], Report], tasks: Iterable[Task], tell: Tell) -> Generator[Report]:
    """Run the tasks one after the other in this process."""
    for task in tasks:
        yield function(task, tell)


class DaskExecutor:
    """Runs tasks on the workers of a Dask client through a bounded window."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def __call__(
        self, function: Callable[[Task, Tell], Report], tasks: Iterable[Task], tell: Tell
    ) -> Generator[Report]:
        """Run all tasks; reports come in the order in which tasks end.

        Raises:
            WorkerDiedError: A task killed every worker that tried it.
        """
        run = _Run(self._client, function, tasks, tell)
        try:
            yield from run.reports()
        finally:
            run.end()


class _Run(Generic[Task, Report]):
    """The tasks that are on their way, and what comes back from them, in one queue."""

    def __init__(
        self, client: Client, function: Callable[[Task, Tell], Report], tasks: Iterable[Task], tell: Tell
    ) -> None:
        self._client = client
        self._waiting = iter(tasks)
        self._tell = tell
        self._topic = f"fda-{uuid.uuid4().hex}"
        self._function = partial(_run_and_tell, function, self._topic)
        self._futures: dict[str, Future] = {}
        self._names: dict[str, str] = {}
        self._told: dict[str, ItemsDone] = {}
        """Key of a task in flight -> its items that were told of, as the two dicts above."""
        self._arrived: SimpleQueue[Future | tuple[str, ItemsDone]] = SimpleQueue()
        client.subscribe_topic(self._topic, self._put_message)

    def reports(self) -> Iterator[Report]:
        self._submit_what_fits()
        while self._futures:
            arrived = self._arrived.get()
            if isinstance(arrived, tuple):
                self._tell_growth(*arrived)
                continue
            report = self._result(arrived)
            self._submit_what_fits()
            yield report

    def end(self) -> None:
        """Call back what is still on its way."""
        self._client.unsubscribe_topic(self._topic)
        self._client.cancel(list(self._futures.values()))

    def _put_message(self, event: tuple[float, tuple[str, list[int]]]) -> None:
        """In the client's own thread."""
        _, (key, numbers) = event
        self._arrived.put((key, ItemsDone(*numbers)))

    def _submit_what_fits(self) -> None:
        """Fill the window, which is as wide as there are workers now: some may have come, or gone."""
        num_workers = max(1, len(self._client.nthreads()))
        while len(self._futures) < num_workers * TASKS_PER_WORKER:
            try:
                task = next(self._waiting)
            except StopIteration:
                return
            key = f"{self._topic}-{uuid.uuid4().hex}"
            self._names[key], self._told[key] = str(task), ItemsDone()
            self._futures[key] = self._client.submit(self._function, key, task, key=key, pure=False)
            self._futures[key].add_done_callback(self._arrived.put)

    def _tell_growth(self, key: str, total: ItemsDone) -> None:
        """Tell what is new. A task whose worker died counts from 0 again, and is silent until it is past its mark."""
        told = self._told.get(key)
        if told is not None and total.num_done >= told.num_done:
            self._told[key] = total
            self._tell(total - told)

    def _result(self, future: Future) -> Report:
        from distributed import KilledWorker

        try:
            report: Report = future.result()
        except KilledWorker as error:
            raise WorkerDiedError(
                f"{self._names.get(error.task, error.task)} killed {MAX_ATTEMPTS} workers, probably because "
                "memory ran out: use fewer --workers, or a smaller --shard-size. What is committed stands"
            ) from error
        for mapping in (self._futures, self._names, self._told):
            del mapping[future.key]
        return report


def _run_and_tell(function: Callable[[Task, Tell], Report], topic: str, key: str, task: Task) -> Report:
    """What a worker runs."""
    from distributed import get_worker

    messages = _Messages(get_worker(), topic, key)
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


@contextmanager
def local_dask(num_workers: int) -> Iterator[DaskExecutor]:
    """Start a scheduler and `num_workers` worker processes of one thread each on this machine, over TCP.

    One thread each: av, OpenCV and zarr work on one core then, and processes add up where threads do not.
    """
    import dask
    from distributed import Client, LocalCluster

    logging.getLogger("distributed").setLevel(logging.ERROR)  # it would tell of every connection
    with dask.config.set({"distributed.scheduler.allowed-failures": MAX_ATTEMPTS - 1}), ExitStack() as stack:
        resource_tracker.ensure_running()  # which unblocks the signals of whoever starts it
        with signals_blocked(signal.SIGINT):  # the coordinator ends the workers; each would print where it was else
            cluster = LocalCluster(
                n_workers=num_workers,
                threads_per_worker=1,
                processes=True,
                host="127.0.0.1",
                dashboard_address=":0",  # any free port: two runs at once must not quarrel over one
                memory_limit=0,  # `pipeline.resources` bounds it; Dask would pause a worker for good above its own
                env=ONE_THREAD,
                silence_logs=logging.CRITICAL,  # a task's error is raised here; a worker need not print it as well
            )
            stack.enter_context(cluster)
        yield DaskExecutor(stack.enter_context(Client(cluster)))
