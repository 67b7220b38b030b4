"""Where the work is done: here, by the workers of a Dask scheduler, or by jobs of a cluster."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import click

from cli.options import CLUSTER_TABLES
from cli.output import plural, say
from cli.workers import fitting_workers
from pipeline.clusters import SETTINGS, WAIT_SECONDS, JobSettings, connected, job_cluster, job_script
from pipeline.executors import Executor, local_dask, run_synchronously
from pipeline.preflight import Preflight
from pipeline.resources import NeedsMemory

_ADDRESS = re.compile(r"(tcp|tls)://[^\s/:]+|(tcp|tls)://\[[0-9a-fA-F:]+\]")


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
            num_shards: Owed.
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


_OPTIONS = (
    click.option(
        "--scheduler",
        metavar="tcp://HOST:PORT",
        help="Work on the workers of this running Dask scheduler: see docs/clusters.md.",
    ),
    click.option(
        "--cluster",
        type=click.Choice(list(SETTINGS)),
        help="Submit --workers workers as jobs to this batch system; [cluster.NAME] in --config says how.",
    ),
    click.option(
        "--worker-timeout",
        type=click.FloatRange(min=1),
        metavar="SECONDS",
        help="Give up where there is no worker for so long.  "
        f"[default: {WAIT_SECONDS:g} with --scheduler, never with --cluster]",
    ),
    click.option("--print-job-script", is_flag=True, help="With --cluster: print what would be submitted, and end."),
)


def cluster_options(function: Callable[..., None]) -> Callable[..., None]:
    """Add the options, and hand them on as one `WorkerPlace`, `place`."""

    @functools.wraps(function)
    def with_options(
        *,
        scheduler: str | None,
        cluster: str | None,
        worker_timeout: float | None,
        print_job_script: bool,
        **others: Any,
    ) -> None:
        place = _worker_place(scheduler, cluster, worker_timeout)
        if print_job_script:
            if place.jobs is None:
                raise click.UsageError("--print-job-script is for --cluster")
            click.echo(job_script(place.jobs), nl=False)
            return
        function(place=place, **others)

    for option in reversed(_OPTIONS):
        with_options = option(with_options)
    return with_options


def _worker_place(scheduler: str | None, cluster: str | None, worker_timeout: float | None) -> WorkerPlace:
    if scheduler is not None and cluster is not None:
        raise click.UsageError("give --scheduler or --cluster, not both")
    if scheduler is None and cluster is None:
        if worker_timeout is not None:
            raise click.UsageError("--worker-timeout is for --scheduler and --cluster")
        return WorkerPlace()
    if scheduler is not None:
        host, _, port = scheduler.rpartition(":")
        if not (_ADDRESS.fullmatch(host) and port.isdigit() and 0 < int(port) < 1 << 16):
            raise click.BadParameter(f"{scheduler!r} is not tcp://HOST:PORT", param_hint="--scheduler")
        return WorkerPlace(scheduler=scheduler, wait_seconds=worker_timeout or WAIT_SECONDS)
    assert cluster is not None
    table = click.get_current_context().meta.get(CLUSTER_TABLES, {}).get(cluster, {})
    try:
        settings = JobSettings(cluster, table)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    return WorkerPlace(jobs=settings, wait_seconds=worker_timeout)
