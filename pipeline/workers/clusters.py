"""Workers that this machine does not run: those of a running Dask scheduler, or jobs of a batch system.

dask-jobqueue submits the jobs of a batch system; the scheduler then runs in this process. Dask's operator starts the
pods of Kubernetes. The site's part of the settings is in `pipeline.workers.job_settings`. What the work itself needs is
set here: workers of one thread; libraries that start no threads; no memory limit by Dask, which does not see the
decoder's memory (`pipeline.run.resources` computes what a worker takes).
"""

from __future__ import annotations

import shlex
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from pipeline.isolation.decoder import close_decoders
from pipeline.run.fields import check_kinds
from pipeline.run.options import ClusterOptions
from pipeline.run.resources import ONE_THREAD
from pipeline.workers.dask import MAX_ATTEMPTS, DaskExecutor
from pipeline.workers.job_settings import ClusterError, JobSettings, cluster_class, job_class
from pipeline.workers.preflight import Preflight
from pipeline.workers.quiet import quiet_logs
from pipeline.workers.worker_watch import Patience, SchedulerError
from store.remedies import install_extra

if TYPE_CHECKING:
    from distributed import Client

CONNECT_SECONDS = 10.0
"""How long to wait for a scheduler's answer."""

JOBS_THAT_ENDED = "jobs that were cancelled, or reached their time limit, come back only when this command is run again"
"""Told while there is no worker: only the batch system knows whether a job has ended, or waits to run once more."""
PODS = "see what `kubectl get pods` says of them"


@contextmanager
def connected(
    address: str, preflight: Preflight, *, wait_seconds: float | None, say: Callable[[str], None]
) -> Iterator[DaskExecutor]:
    """Use a running scheduler and its workers; both keep running after this run.

    Args:
        address: For example `tcp://10.0.0.1:8786`.
        preflight: What a worker must have.
        wait_seconds: How long to wait while there is no worker; None: without a limit.
        say: Gets a sentence about workers that lack something or are missing.

    Raises:
        SchedulerError: No scheduler answers there, or it cannot be used.
        NoWorkersError: There is no worker, or none can be used.
    """
    from distributed import Client

    with quiet_logs(), ExitStack() as stack:
        try:
            client = stack.enter_context(closing(Client(address, timeout=CONNECT_SECONDS, set_as_default=False)))
        except OSError as error:  # Dask's TimeoutError, too
            raise SchedulerError(
                f"no Dask scheduler answers at {address}: start one with `dask scheduler`, or repair the address "
                f"({error})"
            ) from error
        yield stack.enter_context(_prepared(client, preflight, Patience(wait_seconds), say))


@contextmanager
def job_cluster(
    settings: JobSettings,
    num_workers: int,
    preflight: Preflight,
    *,
    wait_seconds: float | None,
    say: Callable[[str], None],
) -> Iterator[DaskExecutor]:
    """Submit jobs, and cancel them at the end.

    Args:
        settings: Of the jobs.
        num_workers: Workers of all jobs together.
        preflight: What a worker must have.
        wait_seconds: How long to wait while there is no worker; None: without a limit.
        say: Gets a sentence about workers that lack something or are missing.

    Raises:
        ClusterError: The batch system rejects the jobs.
        NoWorkersError: There is no worker, or none can be used.
    """
    import dask
    from distributed import Client

    settings_of_dask = {
        "distributed.scheduler.allowed-failures": MAX_ATTEMPTS - 1,
        # Dask cancels a job this long after its worker has left. One that is requeued comes back, be it in hours.
        "distributed.deploy.lost-worker-timeout": "10000 days",
    }
    with quiet_logs(), dask.config.set(settings_of_dask), ExitStack() as stack:
        cluster = stack.enter_context(closing(_start(settings, num_workers)))
        client = stack.enter_context(closing(Client(cluster, set_as_default=False)))
        patience = Patience(wait_seconds, PODS if settings.kind == "kubernetes" else JOBS_THAT_ENDED)
        yield stack.enter_context(_prepared(client, preflight, patience, say))


def job_script(cluster: ClusterOptions) -> str:
    """The script of each job, or the specification of a cluster on Kubernetes, as text. Starts nothing.

    Raises:
        OptionError: A setting is unknown, of the wrong type or missing; the message names it.
        ClusterError: dask-jobqueue or dask-kubernetes is not installed.
    """
    check_kinds(cluster=(cluster, ClusterOptions))
    settings = JobSettings.of(cluster)
    if settings.kind == "kubernetes":
        import json

        return json.dumps(kubernetes_spec(settings, "fda", 1), indent=2) + "\n"
    job = job_class(settings.kind)("tcp://SCHEDULER", name="NAME", **_job_options(settings))
    return str(job.job_script())


def kubernetes_spec(settings: JobSettings, name: str, num_workers: int) -> dict[str, Any]:
    """A `DaskCluster` resource for Dask's operator: each worker is a pod."""
    try:
        from dask_kubernetes.operator import make_cluster_spec
    except ModuleNotFoundError as error:
        raise ClusterError(f"--cluster kubernetes needs dask-kubernetes: {install_extra('kubernetes')}") from error

    table = settings.table
    limits = {"memory": f"{settings.memory_mib}Mi", "cpu": "1"}
    spec: dict[str, Any] = make_cluster_spec(
        name=name,
        image=table["image"],
        n_workers=num_workers,
        env=ONE_THREAD | table.get("env", {}),
        worker_command="dask worker --nthreads 1 --memory-limit 0 --preload fda",
    )
    worker = spec["spec"]["worker"]["spec"]
    (container,) = worker["containers"]
    container["resources"] = {"requests": limits, "limits": limits}
    container["volumeMounts"] = table.get("volume_mounts", [])
    worker["volumes"] = table.get("volumes", [])
    return spec


def _job_options(settings: JobSettings) -> dict[str, Any]:
    """Arguments of dask-jobqueue's job: the site's settings, and on top of them what the work needs."""
    table = dict(settings.table)
    prologue = [f"export {name}={value}" for name, value in ONE_THREAD.items()]
    return table | {
        "cores": settings.num_workers,
        "processes": settings.num_workers,  # so that each has one thread: see `local_dask`
        "job_name": "fda",
        # After dask-jobqueue's own --memory-limit, so that ours counts: Dask would pause a worker at a limit that it
        # computes without the decoder's process.
        "worker_extra_args": [
            "--memory-limit",
            "0",
            "--preload",
            "fda",
            *map(shlex.quote, table.get("worker_extra_args", [])),
        ],
        "job_script_prologue": [*prologue, *table.get("job_script_prologue", [])],
    }


def _start(settings: JobSettings, num_workers: int) -> Any:
    """Start a cluster of so many workers, and return it when all its jobs are submitted."""
    num_jobs = settings.num_jobs(num_workers)
    if settings.kind == "kubernetes":
        spec = kubernetes_spec(settings, f"fda-{uuid.uuid4().hex[:8]}", num_jobs)
        from dask_kubernetes.operator import KubeCluster  # which the line before has found

        return KubeCluster(custom_cluster_spec=spec, namespace=settings.table.get("namespace"), quiet=True)
    job = job_class(settings.kind)
    command = shlex.split(job.submit_command)[0]
    if shutil.which(command) is None:
        raise ClusterError(f"{command} is not on the PATH: run this where jobs are submitted")
    submitted: SimpleQueue[Exception | None] = SimpleQueue()
    cluster = cluster_class(settings.kind)(
        job_cls=_reporting(job, submitted),
        **_job_options(settings),
        scheduler_options={"dashboard_address": ":0"},  # any free port: the default one may be another run's
        silence_logs="critical",
    )
    try:
        cluster.scale(jobs=num_jobs)
        for _ in range(num_jobs):
            rejection = submitted.get()
            if rejection is not None:
                raise ClusterError(f"{command} rejected the job: {_reason(command, str(rejection))}") from rejection
    except BaseException:  # Ctrl-C, too: jobs that are submitted must be cancelled
        cluster.close()
        raise
    return cluster


def _reporting(job: Any, submitted: SimpleQueue[Exception | None]) -> Any:
    """A class of jobs that report how their submission ended: an error, or None.

    `scale` submits in another thread, and only logs the errors there. A rejected job must end the run at once, not
    after it has waited for its workers.
    """
    from distributed import Status

    class ReportingJob(job):  # type: ignore[misc]  # a class that is known only at run time
        async def start(self) -> None:
            try:
                await super().start()
            except Exception as error:
                self.status = Status.failed  # otherwise the cluster does not close
                submitted.put(error)
                raise
            submitted.put(None)

    return ReportingJob


def _reason(command: str, text: str) -> str:
    """The batch system's own words: dask-jobqueue's error ends with what the command printed to stderr.

    SLURM says in the first line what is wrong, and in the second that it is.

    >>> words = "sbatch: error: invalid partition specified: long\\nsbatch: error: Batch job submission failed\\n"
    >>> _reason("sbatch", f"Command exited with non-zero exit code.\\nstderr:\\n{words}")
    'invalid partition specified: long; Batch job submission failed'
    """
    lines = text.rpartition("stderr:\n")[2].splitlines()
    said = [line.strip().removeprefix(f"{command}: ").removeprefix("error: ") for line in lines if line.strip()]
    return "; ".join(said) or "it gave no reason"


@contextmanager
def _prepared(
    client: Client, preflight: Preflight, patience: Patience, say: Callable[[str], None]
) -> Iterator[DaskExecutor]:
    executor = DaskExecutor(client, preflight, patience=patience, say=say)
    executor.watch.wait()
    executor.watch.say_threads()
    try:
        yield executor
    finally:
        if client.status == "running":  # the workers of a running scheduler live on; their decoders must not
            # Those that are there: the scheduler would try for 30 s to reach one that has died since the last look.
            present = executor.watch.fit & client.nthreads().keys()
            client.run(close_decoders, workers=sorted(present), on_error="ignore")
