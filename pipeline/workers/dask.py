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
import signal
import uuid
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import CancelledError
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing import resource_tracker
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Generic

from pipeline.isolation.signals import signals_blocked
from pipeline.run.events import ItemsDone, Tell
from pipeline.run.resources import ONE_THREAD
from pipeline.workers.executors import Report, Task
from pipeline.workers.preflight import Preflight, UnfitWorkerError
from pipeline.workers.worker_side import run_and_tell
from pipeline.workers.worker_watch import SECONDS_BETWEEN_LOOKS, WorkerWatch, lost_scheduler

if TYPE_CHECKING:
    from distributed import Client, Future


TASKS_PER_WORKER = 2
"""Tasks in flight for each worker: one at work, one waiting. Bounds what the coordinator holds."""

MAX_ATTEMPTS = 3
"""A task is put off when so many workers died under it, and gives up when as many died while it ran alone."""

LOCAL_WAIT_SECONDS = 300.0
"""In which a worker of this machine must have come up: a second on an idle machine, a minute on a bad network disk."""

_logger = logging.getLogger(__name__)


class WorkerDiedError(RuntimeError):
    """Tasks killed their workers again and again, also when each ran alone."""


class DaskExecutor:
    """Runs tasks on the workers of a Dask client through a bounded window."""

    def __init__(
        self,
        client: Client,
        preflight: Preflight | None = None,
        *,
        wait_seconds: float | None = LOCAL_WAIT_SECONDS,
        say: Callable[[str], None] = _logger.warning,
        refill: Callable[[], object] = lambda: None,
    ) -> None:
        """Use what there is.

        Args:
            client: Of a scheduler.
            preflight: What a worker must have to take part.
            wait_seconds: For how long to wait where there is no worker; None is for ever.
            say: Is told, in one sentence, of workers that lack something or are not there.
            refill: Is called now and then, to start workers in place of those that are gone for good.
        """
        self.client, self.preflight, self.say = client, preflight, say
        self.watch = WorkerWatch(client, preflight, wait_seconds, say, refill)

    def __call__(
        self, function: Callable[[Task, Tell], Report], tasks: Iterable[Task], tell: Tell
    ) -> Generator[Report]:
        """Run all tasks; reports come in the order in which tasks end.

        Raises:
            WorkerDiedError: Tasks killed their workers also when each ran alone. All others are done by then.
            NoWorkersError: There is no worker.
            SchedulerError: The scheduler is gone.
        """
        run = _Run(self, function, tasks, tell)
        try:
            yield from run.reports()
        finally:
            run.end()


@dataclass(slots=True)
class _Flight(Generic[Task]):
    """A task on its way."""

    task: Task
    future: Future
    only: frozenset[str] | None
    """Workers that may run it; None: all."""
    told: ItemsDone
    """Its items that were told of."""


@dataclass(frozen=True, slots=True)
class _Arrived:
    """How a task ended."""

    key: str
    """Of its future."""
    report: Any
    error: BaseException | None = None
    """In place of a report."""


@dataclass(frozen=True, slots=True)
class _Deaths:
    """In place of a report."""

    num_workers: int


class _Run(Generic[Task, Report]):
    """The tasks that are on their way, and what comes back from them, in one queue."""

    def __init__(
        self,
        executor: DaskExecutor,
        function: Callable[[Task, Tell], Report],
        tasks: Iterable[Task],
        tell: Tell,
    ) -> None:
        self._executor, self._client, self._watch = executor, executor.client, executor.watch
        self._function, self._waiting, self._tell = function, iter(tasks), tell
        self._topic = f"fda-{uuid.uuid4().hex}"
        self._flights: dict[str, _Flight[Task]] = {}
        """By the key of their future."""
        self._arrived: SimpleQueue[_Arrived | tuple[str, ItemsDone]] = SimpleQueue()
        self._client.subscribe_topic(self._topic, self._put_message)

    def reports(self) -> Iterator[Report]:
        """Run all tasks; those under which workers died come last, one by one."""
        put_off: list[_Flight[Task]] = []
        self._submit_what_fits()
        while self._flights:
            flight, outcome = self._ended()
            self._submit_what_fits()
            if isinstance(outcome, _Deaths):
                self._executor.say(
                    f"{flight.task} lost its worker {outcome.num_workers} times: it is put off to the end of the run"
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
        if lethal:  # raised only now: the others that were put off may do no harm
            (task, deaths), *others = lethal
            raise WorkerDiedError(
                f"{task}{f' (and {len(others):,} more)' if others else ''} killed {deaths.num_workers} workers "
                "although nothing else was running, probably because memory ran out: use machines with more memory, "
                "or a smaller --shard-size. Everything else is committed"
            )

    def end(self) -> None:
        """Call back what is still on its way."""
        if self._client.status == "running":
            self._client.unsubscribe_topic(self._topic)
            self._client.cancel([flight.future for flight in self._flights.values()])

    def _put_message(self, event: tuple[float, tuple[str, list[int]]]) -> None:
        """In the client's own thread."""
        _, (key, numbers) = event
        self._arrived.put((key, ItemsDone(*numbers)))

    def _fetch(self, future: Future) -> None:
        """Fetch its report, in a thread of the client, for that may take long.

        Where a worker dies before its report has been fetched, the task is done again, and waits for ever if it is
        bound to that worker: it is for the main thread to see to that.
        """
        try:
            self._arrived.put(_Arrived(future.key, future.result()))
        except (Exception, CancelledError) as error:
            self._arrived.put(_Arrived(future.key, None, error))

    def _submit_what_fits(self) -> None:
        """Fill the window, which is as wide as there are workers now: some may have come, or gone."""
        self._watch.look()
        num_workers = max(1, len(self._watch.fit))
        while len(self._flights) < num_workers * TASKS_PER_WORKER:
            try:
                task = next(self._waiting)
            except StopIteration:
                return
            self._submit(task, ItemsDone())

    def _submit(self, task: Task, told: ItemsDone) -> None:
        key = f"{self._topic}-{uuid.uuid4().hex}"
        only = self._watch.restriction
        called = partial(run_and_tell, self._function, self._topic, self._executor.preflight)
        workers = sorted(only) if only else None  # none is left: it waits, and is submitted anew with the next look
        future = self._client.submit(called, key, task, key=key, pure=False, workers=workers)
        self._flights[key] = _Flight(task, future, only, told)
        future.add_done_callback(self._fetch)

    def _ended(self) -> tuple[_Flight[Task], Report | _Deaths]:
        """Wait for the next task that ends, be it with its worker."""
        from distributed import KilledWorker
        from distributed.comm import CommClosedError

        while True:
            arrived = self._next_arrived()
            if not isinstance(arrived, _Arrived):
                self._tell_growth(*arrived)
                continue
            flight = self._flights.pop(arrived.key, None)
            if flight is None:  # it was submitted anew
                continue
            try:
                if arrived.error is not None:
                    raise arrived.error
                return flight, arrived.report
            except KilledWorker as error:
                return flight, _Deaths(error.allowed_failures + 1)
            except (CancelledError, CommClosedError) as error:
                raise lost_scheduler(self._client) from error
            except UnfitWorkerError as error:
                self._watch.exclude(error)
                self._watch.look(at_once=True)
            except ImportError:  # a worker that has joined since has no `fda`, so that it cannot say who it is
                self._watch.look(at_once=True)
                if not self._watch.check_all():
                    raise
            self._submit(flight.task, flight.told)

    def _next_arrived(self) -> _Arrived | tuple[str, ItemsDone]:
        while True:
            try:
                return self._arrived.get(timeout=SECONDS_BETWEEN_LOOKS)
            except Empty:
                self._watch.look()
                self._submit_stranded_anew()

    def _submit_stranded_anew(self) -> None:
        """Those bound to workers that have all gone, where others have come: they would wait for ever."""
        fit = self._watch.fit
        stranded = [key for key, flight in self._flights.items() if flight.only is not None and not flight.only & fit]
        for key in stranded if fit else ():
            flight = self._flights.pop(key)
            self._client.cancel([flight.future])
            self._submit(flight.task, flight.told)

    def _tell_growth(self, key: str, total: ItemsDone) -> None:
        """Tell what is new. A task whose worker died counts from 0 again, and is silent until it is past its mark."""
        flight = self._flights.get(key)
        if flight is not None and total.num_done >= flight.told.num_done:
            self._tell(total - flight.told)
            flight.told = total

    def _alone(self, flight: _Flight[Task]) -> Report | _Deaths:
        """Run a task while nothing else runs, until it ends or `MAX_ATTEMPTS` workers have died under it.

        Dask does not count for us: a running scheduler may give a task up after any number of deaths.
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
                memory_limit=0,  # `pipeline.run.resources` bounds it; Dask would pause a worker for good above its own
                env=ONE_THREAD,
                silence_logs=logging.CRITICAL,  # a task's error is raised here; a worker need not print it as well
            )
            stack.enter_context(cluster)
        # A nanny restarts its worker, but for one that dies while it starts: then it gives up, and so it must be
        # replaced. `scale` starts as many as are missing, and nothing where none is.
        yield DaskExecutor(stack.enter_context(Client(cluster)), refill=lambda: cluster.scale(num_workers))
