"""Running a plan. `run_synchronously` is the specification: every other executor yields the same results, in any order.

A task carries what it needs and writes what it makes into the store itself; only its report travels back.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from distributed import Client, Future

Task = TypeVar("Task")
Report = TypeVar("Report")

TASKS_PER_WORKER = 2
"""Tasks in flight for each worker: one at work, one waiting. Bounds what the coordinator holds."""

MAX_ATTEMPTS = 3
"""A task whose worker died is tried on this many workers in all."""


class Executor(Protocol):
    """Calls a function on each task, and yields each report as it comes."""

    def __call__(self, function: Callable[[Task], Report], tasks: Iterable[Task]) -> Iterator[Report]:
        """Run all tasks. The first error ends the run: what is committed by then stands."""


class WorkerDiedError(RuntimeError):
    """A task killed the workers that it ran on."""


def run_synchronously(function: Callable[[Task], Report], tasks: Iterable[Task]) -> Iterator[Report]:
    """Run the tasks one after the other in this process."""
    for task in tasks:
        yield function(task)


class DaskExecutor:
    """Runs tasks on the workers of a Dask client through a bounded window."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def __call__(self, function: Callable[[Task], Report], tasks: Iterable[Task]) -> Iterator[Report]:
        """Run all tasks; reports come in the order in which tasks end.

        Raises:
            WorkerDiedError: A task killed every worker that tried it.
        """
        from distributed import KilledWorker, as_completed

        waiting = iter(tasks)
        in_hand: dict[str, str] = {}

        def submit(task: Task) -> Future:
            future = self._client.submit(function, task, pure=False)
            in_hand[future.key] = str(task)
            return future

        num_workers = len(self._client.scheduler_info()["workers"])
        first = [submit(task) for task in islice(waiting, num_workers * TASKS_PER_WORKER)]
        in_flight = as_completed(first)
        try:
            for future in in_flight:
                report: Report = future.result()
                del in_hand[future.key]
                in_flight.update(submit(task) for task in islice(waiting, 1))
                yield report
        except KilledWorker as error:
            raise WorkerDiedError(
                f"{in_hand.get(error.task, error.task)} killed {MAX_ATTEMPTS} workers: it ran out of memory (use fewer "
                "--workers), or a decoder crashed on one of its videos (leave that one out). What is committed stands"
            ) from error
        finally:
            self._client.cancel(list(in_flight.futures))


@contextmanager
def local_dask(num_workers: int) -> Iterator[DaskExecutor]:
    """Start a scheduler and `num_workers` worker processes of one thread each on this machine, over TCP.

    One thread each: av, OpenCV and zarr work on one core then, and processes add up where threads do not.
    """
    import dask
    from distributed import Client, LocalCluster

    logging.getLogger("distributed").setLevel(logging.ERROR)  # it would tell of every connection
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": MAX_ATTEMPTS - 1}),
        LocalCluster(
            n_workers=num_workers,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address=":0",  # any free port: two runs at once must not quarrel over one
            silence_logs=logging.CRITICAL,  # a task's error is raised here; a worker need not print it as well
        ) as cluster,
        Client(cluster) as client,
    ):
        yield DaskExecutor(client)
