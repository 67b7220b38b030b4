"""The flags that say where a run works, and which part of it: `RunOptions`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import click

import fda
from cli.options.shared import CLUSTER_TABLES, add_options, partition_option, wait_option
from pipeline.errors import OptionError
from pipeline.run.options import CLUSTER_KINDS, SCHEDULER_WAIT_SECONDS, ClusterOptions, RunOptions

_OPTIONS = (
    click.option(
        "--scheduler",
        metavar="tcp://HOST:PORT",
        help="Use the workers of this running Dask scheduler: see docs/clusters.md.",
    ),
    click.option(
        "--cluster",
        type=click.Choice(CLUSTER_KINDS),
        help="Submit --workers workers as jobs to this batch system; [cluster.NAME] in --config describes the jobs.",
    ),
    click.option(
        "--worker-timeout",
        type=click.FloatRange(min=1),
        metavar="SECONDS",
        help="Stop if no worker has appeared after this time.  "
        f"[default: {SCHEDULER_WAIT_SECONDS:g} with --scheduler, never with --cluster]",
    ),
    click.option("--print-job-script", is_flag=True, help="Print what --cluster would submit, and end."),
)


def workers_option(help_text: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """`--workers`, whose default differs from command to command."""
    return click.option("--workers", type=click.IntRange(min=0), help=help_text)


def run_options(overwrite_help: str, yes_help: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add `--scheduler`, `--cluster`, `--partition`, `--wait`, `--overwrite` and `--yes`; hand on one value, `run`.

    The command has `--workers` of its own: see `workers_option`.
    """
    overwriting = (
        click.option("--overwrite", is_flag=True, help=overwrite_help),
        click.option("--yes", is_flag=True, help=yes_help),
    )

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(function)
        def with_options(
            *,
            workers: int | None,
            scheduler: str | None,
            cluster: str | None,
            worker_timeout: float | None,
            print_job_script: bool,
            **others: Any,
        ) -> None:
            if print_job_script:
                _print_job_script(cluster)
                return
            taken = {name: others.pop(name) for name in ("partition", "wait", "overwrite", "yes")}
            try:
                run = RunOptions(workers, scheduler, _cluster(cluster), worker_timeout, **taken)
            except OptionError as error:
                raise click.UsageError(str(error)) from error
            function(run=run, **others)

        return add_options(with_options, (*_OPTIONS, partition_option, wait_option, *overwriting))

    return decorate


def _cluster(kind: str | None) -> ClusterOptions | None:
    if kind is None:
        return None
    # Without a --config file there are no settings, and the batch system's own defaults hold.
    return ClusterOptions(kind, click.get_current_context().meta.get(CLUSTER_TABLES, {}).get(kind, {}))


def _print_job_script(kind: str | None) -> None:
    cluster = _cluster(kind)
    if cluster is None:
        raise click.UsageError("--print-job-script is for --cluster")
    click.echo(fda.job_script(cluster), nl=False)
