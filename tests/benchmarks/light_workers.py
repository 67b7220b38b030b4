"""Many Dask workers in one process: `python -m tests.benchmarks.light_workers ADDRESS NUMBER`; see `bench_throughput`.

Each is a `distributed.Worker` of its own, with its connections, its thread and its heartbeats, as a scheduler of a
cluster has them. What they run sleeps, so that they take next to nothing of this machine. They end with stdin.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from contextlib import AsyncExitStack, nullcontext
from tempfile import TemporaryDirectory

import dask
from distributed import Worker

from pipeline.workers import worker_side
from pipeline.workers.quiet import QUIET


async def work(address: str, num_workers: int) -> None:
    """Be so many workers of a scheduler, until stdin ends."""
    with TemporaryDirectory() as folder:
        async with AsyncExitStack() as stack:
            for _ in range(num_workers):
                worker = Worker(address, nthreads=1, memory_limit=0, local_directory=folder)
                await stack.enter_async_context(worker)
            print("started", flush=True)
            await asyncio.to_thread(sys.stdin.read)


def main() -> None:
    """Run from the command line."""
    worker_side._AT_WORK = nullcontext()  # type: ignore[assignment]  # one task at a time a worker, not a process
    dask.config.set(QUIET)
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    asyncio.run(work(sys.argv[1], int(sys.argv[2])))


if __name__ == "__main__":
    main()
