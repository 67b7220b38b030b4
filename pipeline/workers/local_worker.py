"""The program of a Dask worker on this machine: work until the coordinator or its scheduler has ended.

python -m pipeline.workers.local_worker ADDRESS LIFELINE STARTED
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from multiprocessing.connection import Connection
from threading import Thread
from typing import Any

from pipeline.isolation.children import die_with_parent
from pipeline.isolation.signals import REQUESTS_TO_STOP
from pipeline.workers.quiet import HEARTBEAT_SECONDS, QUIET


def be_worker(address: str, lifeline: Connection, started: Connection) -> None:
    """Work for a scheduler.

    Args:
        address: Of the scheduler.
        lifeline: Closes when the coordinator ends, however it does.
        started: Gets a message once the scheduler knows this worker.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, REQUESTS_TO_STOP)
    die_with_parent(lifeline.fileno())
    Thread(target=_exit_with, args=(lifeline,), daemon=True).start()  # where the kernel does not do it
    asyncio.run(_work(address, started))


async def _work(address: str, started: Connection) -> None:
    import dask
    from distributed import Worker

    class QuietWorker(Worker):  # type: ignore[misc]  # it has no types
        has_told = False

        def tell_start(self) -> None:
            if not self.has_told:
                self.has_told = True
                started.send(None)

        async def execute(self, key: str, *, stimulus_id: str) -> Any:
            # The first task may come before this worker is back from its start, and may kill it: a worker that dies
            # before it has told is taken for one that cannot start.
            self.tell_start()
            return await super().execute(key, stimulus_id=stimulus_id)

        async def heartbeat(self) -> None:
            await super().heartbeat()  # which sets the interval that the scheduler wants
            self.periodic_callbacks["heartbeat"].callback_time = HEARTBEAT_SECONDS * 1000

    dask.config.set(QUIET)
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # a task's error is raised by the coordinator
    # One thread, so that av, OpenCV and zarr each use one core: there are as many processes. No limit of memory:
    # `run.resources` bounds it, and above a limit of its own Dask would pause a worker for good.
    async with QuietWorker(address, nthreads=1, memory_limit=0) as worker:
        worker.tell_start()
        await worker.finished()


def _exit_with(lifeline: Connection) -> None:
    try:
        lifeline.recv()
    except (EOFError, OSError):
        os._exit(0)


if __name__ == "__main__":
    be_worker(sys.argv[1], Connection(int(sys.argv[2]), writable=False), Connection(int(sys.argv[3]), readable=False))
