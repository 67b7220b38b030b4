"""Runs tasks on Dask workers. `run_synchronously` is the specification: the same reports, in any order.

A task carries what it needs and writes its results into the store itself. Only its report travels back and, while it
runs, the number of items it has done.

When a worker dies, Dask starts its tasks again on another one. The death says little about a task: the machine may
have been taken away, or another task may have used up its memory. Dask even counts the death against tasks that only
waited there. So a task that was there `MAX_ATTEMPTS` times is put off until all others are done, and is then tried
alone. If `MAX_ATTEMPTS` workers die under it again, the run ends with an error that names it.
"""

from __future__ import annotations

import logging
import pickle
import secrets
import uuid
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import CancelledError
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Generic

from pipeline.errors import PipelineError
from pipeline.run.events import ItemsDone, Tell
from pipeline.run.words import plural
from pipeline.workers.executors import Report, Task
from pipeline.workers.local_workers import START_SECONDS, LocalWorkers
from pipeline.workers.preflight import Preflight, UnfitWorkerError
from pipeline.workers.quiet import QUIET, quiet_logs
from pipeline.workers.worker_side import SECONDS_BETWEEN_MESSAGES, Progress, Telling, run_and_tell
from pipeline.workers.worker_watch import SECONDS_BETWEEN_LOOKS, Patience, WorkerWatch, lost_scheduler

if TYPE_CHECKING:
    from distributed import Client, Future, LocalCluster


TASKS_PER_WORKER = 2
"""Tasks in flight for each worker: one running, one waiting, so that a worker never waits for the coordinator. Bounds
the coordinator's memory: a plan may have a million tasks."""

MAX_ATTEMPTS = 3
"""A task is put off after so many dead workers, and ends the run after as many more while it ran alone."""

MESSAGES_A_SECOND = 100
"""Of all workers, about their progress. With ten a second of each of 256 workers, messages took the coordinator more
time than tasks did."""

NUM_TOPICS = 8
"""A scheduler keeps a topic, and its last 1,000 messages, for as long as it lives: one a run would fill the memory of a
scheduler that serves many. Those that run at the same time share few, so that hardly any gets what others send."""

LOCAL_PATIENCE = Patience(START_SECONDS)

Message = tuple[float, tuple[str, tuple[int, ...], bytes | None]]
"""When the scheduler got it, and what `Progress.to_message` gives."""

_logger = logging.getLogger(__name__)


class WorkerDiedError(PipelineError, RuntimeError):
    """Some tasks killed their workers again and again, even while nothing else was running."""


class DaskExecutor:
    """Runs tasks on the workers of a Dask client through a bounded window."""

    def __init__(
        self,
        client: Client,
        preflight: Preflight | None = None,
        *,
        patience: Patience = LOCAL_PATIENCE,
        say: Callable[[str], None] = _logger.warning,
        refill: Callable[[], object] = lambda: None,
    ) -> None:
        """Use the workers of a scheduler.

        Args:
            client: Of the scheduler.
            preflight: What a worker must have to be used.
            patience: How long to wait while there is no worker.
            say: Gets a sentence about workers that lack something or are missing.
            refill: Is called now and then, to replace workers that have ended for good.
        """
        self.client, self.preflight, self.say = client, preflight, say
        self.watch = WorkerWatch(client, preflight, patience, say, refill)
        self.topic = f"fda-{secrets.randbelow(NUM_TOPICS)}"
        self._runs: dict[str, _Run[Any, Any]] = {}
        """By their names, with which the keys of their tasks begin."""

    def __call__(
        self, function: Callable[[Task, Tell], Report], tasks: Iterable[Task], tell: Tell
    ) -> Generator[Report]:
        """Run all tasks; reports come in the order in which tasks end.

        Raises:
            WorkerDiedError: Some tasks killed their workers even when each ran alone. All others are done by then.
            NoWorkersError: There is no worker.
            SchedulerError: The scheduler has ended, or cannot be reached.
        """
        run = _Run(self, function, tasks, tell)
        try:
            yield from run.reports()
        finally:
            run.end()

    def listen(self, run: _Run[Any, Any]) -> None:
        """Hand the messages about the tasks of a run to it."""
        if not self._runs:
            self.client.subscribe_topic(self.topic, self._hand_on)
        self._runs[run.name] = run

    def forget(self, run: _Run[Any, Any]) -> None:
        """Undo `listen`."""
        self._runs.pop(run.name, None)
        if not self._runs and self.client.status == "running":
            self.client.unsubscribe_topic(self.topic)

    def _hand_on(self, event: Message) -> None:
        """Runs in the client's own thread. A message may be of another client's run, or of one that has ended."""
        # Keys are NAME-UUID, see `_submit`. `get`: the caller's thread may have forgotten the run a moment ago.
        run = self._runs.get(event[1][0].rpartition("-")[0])
        if run is not None:
            run.put_message(event)


@dataclass(slots=True)
class _Flight(Generic[Task]):
    """A task that was submitted and has not ended."""

    task: Task
    future: Future
    only: frozenset[str] | None
    """Workers that may run it; None: all."""
    told: ItemsDone
    """Its items that were reported to the caller."""
    report: bytes | None = None
    """Pickled: it comes in a message before Dask says that the task has ended."""


@dataclass(frozen=True, slots=True)
class _Ended:
    """A task that ended, as Dask says it."""

    key: str
    """Of its future."""
    error: BaseException | None


@dataclass(frozen=True, slots=True)
class _Deaths:
    """The outcome of a task that ended because workers died under it."""

    num_workers: int


class _Run(Generic[Task, Report]):
    """The tasks in flight. Reports and progress arrive in one queue, which the caller's thread reads.

    One queue, because the client's callbacks run in its own threads and the caller's `tell` must not.
    """

    def __init__(
        self,
        executor: DaskExecutor,
        function: Callable[[Task, Tell], Report],
        tasks: Iterable[Task],
        tell: Tell,
    ) -> None:
        self._executor, self._client, self._watch = executor, executor.client, executor.watch
        self._function, self._waiting, self._tell = function, iter(tasks), tell
        self.name = f"fda-{uuid.uuid4().hex}"
        self._telling = Telling(executor.topic)
        self._flights: dict[str, _Flight[Task]] = {}
        """By the key of their future."""
        self._arrived: SimpleQueue[_Ended | Progress] = SimpleQueue()
        executor.listen(self)

    def reports(self) -> Iterator[Report]:
        """Run all tasks; those under which workers died come last, one by one."""
        put_off: list[_Flight[Task]] = []
        self._submit_what_fits()
        while self._flights:
            flight, outcome = self._ended()
            self._submit_what_fits()
            if isinstance(outcome, _Deaths):
                self._executor.say(
                    f"{flight.task} lost its worker {plural(outcome.num_workers, 'time')}: it is put off to the end of "
                    "the run"
                )
                put_off.append(flight)
            else:
                yield outcome
        lethal: list[tuple[Task, _Deaths]] = []
        for flight in put_off:
            outcome = self._alone(flight)
            if isinstance(outcome, _Deaths):
                lethal.append((flight.task, outcome))
            else:
                yield outcome
        if lethal:  # raised only now: most of those put off only waited at a worker that another task killed
            (task, deaths), *others = lethal
            raise WorkerDiedError(
                f"{task}{f' (and {len(others):,} more)' if others else ''} killed "
                f"{plural(deaths.num_workers, 'worker')} although nothing else was running, probably "
                "because memory ran out: use machines with more memory, "
                "or a smaller --shard-size. Everything else is committed"
            )

    def end(self) -> None:
        """Cancel the tasks in flight."""
        # First of all: messages of tasks that are about to be cancelled have no reader any more.
        self._executor.forget(self)
        if self._client.status == "running":  # a client whose scheduler is lost would wait for it
            self._client.cancel([flight.future for flight in self._flights.values()])

    def put_message(self, event: Message) -> None:
        """Runs in the client's own thread."""
        self._arrived.put(Progress.from_message(event[1]))

    def _put_end(self, future: Future) -> None:
        """Runs in a thread of the client, when a task has ended. If it ended well, its report is in a message.

        The result is not asked for: that is two more requests a task, and it may block. Where a worker dies before its
        result was fetched, Dask runs the task again.
        """
        error: BaseException | None = None
        if future.status != "finished":
            try:
                future.result()
            except (Exception, CancelledError) as failure:
                error = failure
        self._arrived.put(_Ended(future.key, error))

    def _submit_what_fits(self) -> None:
        """Fill the window, whose width follows the workers that are there now."""
        self._watch.look()
        num_workers = max(1, len(self._watch.fit))
        self._telling = Telling(self._executor.topic, max(SECONDS_BETWEEN_MESSAGES, num_workers / MESSAGES_A_SECOND))
        while len(self._flights) < num_workers * TASKS_PER_WORKER:
            try:
                task = next(self._waiting)
            except StopIteration:
                return
            self._submit(task, ItemsDone())

    def _submit(self, task: Task, told: ItemsDone) -> None:
        key = f"{self.name}-{uuid.uuid4().hex}"
        only = self._watch.restriction
        called = partial(run_and_tell, self._function, self._telling, self._executor.preflight)
        # If no worker is left, the task goes to any; `only` is empty then, and the task is submitted again with the
        # next look. Not pure, and with a key of its own: Dask would run equal tasks once.
        workers = sorted(only) if only else None
        future = self._client.submit(called, key, task, key=key, pure=False, workers=workers)
        self._flights[key] = _Flight(task, future, only, told)
        future.add_done_callback(self._put_end)

    def _ended(self) -> tuple[_Flight[Task], Report | _Deaths]:
        """Wait for the next task to end, with a report or because workers died under it."""
        while True:
            arrived = self._next_arrived()
            flight = self._flights.get(arrived.key)
            if flight is None:  # it was submitted again under another key, or has ended
                continue
            if isinstance(arrived, Progress):
                self._tell_growth(flight, arrived.total)
                # It does not end the task: a worker may die between its message and the end, and Dask starts it again.
                flight.report = arrived.report or flight.report
                continue
            del self._flights[arrived.key]
            if arrived.error is None and flight.report is not None:
                return flight, pickle.loads(flight.report)
            deaths = None if arrived.error is None else self._deaths(arrived.error)
            if deaths is not None:
                return flight, deaths
            self._submit(flight.task, flight.told)

    def _deaths(self, error: BaseException) -> _Deaths | None:
        """What is to be learnt from an error; None: the task is run again. Raises an error that ends the run."""
        from distributed import KilledWorker
        from distributed.comm import CommClosedError

        if isinstance(error, KilledWorker):
            return _Deaths(error.allowed_failures + 1)
        if isinstance(error, CancelledError | CommClosedError):  # how a client ends its futures without a scheduler
            raise lost_scheduler(self._client) from error
        if isinstance(error, UnfitWorkerError):
            self._watch.exclude(error)
            self._watch.look(at_once=True)
        elif isinstance(
            error, ImportError
        ):  # a worker without `fda` has joined, and cannot even raise UnfitWorkerError
            self._watch.look(at_once=True)
            if not self._watch.check_all():
                raise error
        else:
            raise error
        return None

    def _next_arrived(self) -> _Ended | Progress:
        while True:
            try:
                return self._arrived.get(timeout=SECONDS_BETWEEN_LOOKS)
            except Empty:
                self._watch.look()
                self._submit_stranded_again()

    def _submit_stranded_again(self) -> None:
        """Submit tasks again that are bound to workers which have all left, once others have come.

        Otherwise they would wait without a limit: Dask does not move a task to a worker that it may not run on.
        """
        fit = self._watch.fit
        stranded = [key for key, flight in self._flights.items() if flight.only is not None and not flight.only & fit]
        for key in stranded if fit else ():
            flight = self._flights.pop(key)
            self._client.cancel([flight.future])
            self._submit(flight.task, flight.told)

    def _tell_growth(self, flight: _Flight[Task], total: ItemsDone) -> None:
        """Report new items. A task whose worker died counts from 0 again: nothing is new until it is past its mark."""
        if total.num_done >= flight.told.num_done:
            self._tell(total - flight.told)
            flight.told = total

    def _alone(self, flight: _Flight[Task]) -> Report | _Deaths:
        """Run a task while nothing else runs, until it ends or `MAX_ATTEMPTS` workers have died under it.

        The deaths are counted here: a running scheduler may give a task up after any number of them.
        """
        num_dead, told = 0, flight.told
        while num_dead < MAX_ATTEMPTS:
            self._submit(flight.task, told)
            ended, outcome = self._ended()
            if not isinstance(outcome, _Deaths):
                return outcome
            num_dead, told = num_dead + outcome.num_workers, ended.told
        return _Deaths(num_dead)


@contextmanager
def scheduler_here() -> Iterator[LocalCluster]:
    """Start a scheduler in this process, over TCP, without workers."""
    import dask
    from distributed import LocalCluster

    # Dask gives a task up with the first death beyond those that it allows.
    settings = {**QUIET, "distributed.scheduler.allowed-failures": MAX_ATTEMPTS - 1}
    with (
        quiet_logs(),  # it logs every connection
        dask.config.set(settings),
        LocalCluster(
            n_workers=0,
            host="127.0.0.1",
            dashboard_address=":0",  # any free port: the default one may be another run's
            silence_logs=logging.CRITICAL,
        ) as cluster,
    ):
        yield cluster


@contextmanager
def local_dask(num_workers: int) -> Iterator[DaskExecutor]:
    """Start a scheduler in this process and `num_workers` worker processes on this machine, over TCP.

    Raises:
        NoWorkersError: No worker process starts here.
    """
    from distributed import Client

    with ExitStack() as last, scheduler_here() as cluster:
        workers = LocalWorkers(cluster.scheduler_address, num_workers)
        last.callback(workers.close)  # when the scheduler has told them to end
        # Before the client: without workers there is nothing to submit to, and a start that fails says why.
        workers.wait()
        with Client(cluster) as client:
            yield DaskExecutor(client, refill=workers.refill)
