"""Options that say where the work is done: here, on workers of a Dask scheduler, or in jobs of a cluster."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from cli.options.shared import CLUSTER_TABLES
from pipeline.workers.kinds import CLUSTER_KINDS, WAIT_SECONDS

if TYPE_CHECKING:
    from pipeline.workers.place import WorkerPlace

_ADDRESS = re.compile(r"(tcp|tls)://[^\s/:]+|(tcp|tls)://\[[0-9a-fA-F:]+\]")


_OPTIONS = (
    click.option(
        "--scheduler",
        metavar="tcp://HOST:PORT",
        help="Use the workers of this running Dask scheduler: see docs/clusters.md.",
    ),
    click.option(
        "--cluster",
        type=click.Choice(CLUSTER_KINDS),
        help="Submit --workers workers as jobs to this batch system; [cluster.NAME] in --config says how.",
    ),
    click.option(
        "--worker-timeout",
        type=click.FloatRange(min=1),
        metavar="SECONDS",
        help="End the run if there is no worker for so long.  "
        f"[default: {WAIT_SECONDS:g} with --scheduler, never with --cluster]",
    ),
    click.option("--print-job-script", is_flag=True, help="Print the job script of --cluster, and submit nothing."),
)


def cluster_options(function: Callable[..., None]) -> Callable[..., None]:
    """Add the options; the command gets them as one `WorkerPlace`, `place`."""

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
            from pipeline.workers.clusters import job_script

            click.echo(job_script(place.jobs), nl=False)
            return
        function(place=place, **others)

    for option in reversed(_OPTIONS):
        with_options = option(with_options)
    return with_options


def _worker_place(scheduler: str | None, cluster: str | None, worker_timeout: float | None) -> WorkerPlace:
    from pipeline.workers.job_settings import JobSettings
    from pipeline.workers.place import WorkerPlace

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
