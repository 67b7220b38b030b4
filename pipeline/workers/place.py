"""Where the work is done: in this process, on this machine, by a Dask scheduler, or by jobs of a cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import click

from cli.output.printing import plural, say
from cli.workers import fitting_workers
from pipeline.run.resources import NeedsMemory
from pipeline.workers.clusters import JobSettings, connected, job_cluster
from pipeline.workers.dask import local_dask
from pipeline.workers.executors import Executor, run_synchronously
from pipeline.workers.preflight import Preflight


@dataclass(frozen=True)
class WorkerPlace:
    """Where workers are to be had; with neither of both, on this machine."""

    scheduler: str | None = None
    """Address of a running Dask scheduler."""
    jobs: JobSettings | None = None
    """Of a cluster."""
    wait_seconds: float | None = None
    """For how long to wait for workers; None is for ever."""

    def check(self, workers: int | None, memory: NeedsMemory) -> None:
        """Refuse what cannot work, before anything begins.

        Args:
            workers: As the user gave it.
            memory: What one worker takes.

        Raises:
            UsageError: It cannot.
        """
        if self.scheduler is not None and workers is not None:
            raise click.UsageError("--workers is for workers that this command starts: --scheduler has its own")
        if self.jobs is None:
            return
        if not workers:
            raise click.UsageError("--cluster needs --workers: how many to start, in as many jobs as that takes")
        try:
            self.jobs.check_memory(memory)
        except ValueError as error:
            raise click.UsageError(str(error)) from error

    @contextmanager
    def executor(
        self,
        wanted: int,
        num_shards: int,
        memory: NeedsMemory,
        preflight: Callable[[], Preflight],
        *,
        alone: str,
        remedy: str,
    ) -> Iterator[tuple[Executor, int]]:
        """What runs the tasks, and how many workers that are, 0 where the work is done in this process.

        Args:
            wanted: Workers to start; 0 for the work to be done in this process.
            num_shards: Pending.
            memory: What one worker takes.
            preflight: Gives what workers elsewhere must have.
            alone: Where the work is done without workers.
            remedy: What to do about workers that do not fit into this machine.
        """
        if num_shards == 0:
            yield run_synchronously, 0
        elif self.scheduler is not None:
            with connected(self.scheduler, preflight(), wait_seconds=self.wait_seconds, say=say) as executor:
                num_workers = len(executor.watch.fit)
                each = f"at most about {memory.total_mib:,} MiB each"
                say(f"{plural(num_workers, 'worker')} at {self.scheduler}, {each}")
                yield executor, num_workers
        elif self.jobs is not None:
            num_workers, limit = min(wanted, num_shards), self.wait_seconds
            say(f"{plural(num_workers, 'worker')} as {plural(self.jobs.num_jobs(num_workers), 'job')}")
            with job_cluster(self.jobs, num_workers, preflight(), wait_seconds=limit, say=say) as executor:
                yield executor, num_workers
        elif num_workers := fitting_workers(wanted, num_shards, memory, alone=alone, remedy=remedy):
            with local_dask(num_workers) as executor:
                yield executor, num_workers
        else:
            yield run_synchronously, 0
