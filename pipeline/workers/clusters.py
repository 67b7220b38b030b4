"""Workers that are not of this machine: those of a running Dask scheduler, or jobs of a batch system.

A batch system's workers are started by `dask-jobqueue`, which runs the scheduler in this process and submits one job
after the other; Kubernetes' by the Dask operator. What a site has to say goes into a table of settings, and everything
that the work itself needs is set here: workers of one thread, whose memory Dask does not watch (it is computed by
`pipeline.run.resources`, and Dask would not see the decoder's), libraries that start no threads.
"""

from __future__ import annotations

import logging
import math
import shlex
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.errors import InputError, PipelineError
from pipeline.isolation.decoder import close_decoders
from pipeline.run.resources import ONE_THREAD, NeedsMemory
from pipeline.workers.dask import MAX_ATTEMPTS, DaskExecutor
from pipeline.workers.preflight import Preflight
from pipeline.workers.worker_watch import SchedulerError

if TYPE_CHECKING:
    from distributed import Client

CONNECT_SECONDS = 10.0
"""In which a scheduler must answer."""

WAIT_SECONDS = 300.0
"""For how long to wait for the workers of a running scheduler. Jobs may wait in a queue for days."""

_EVERYWHERE: dict[str, type] = {"cores": int, "memory": str, "walltime": str, "queue": str, "python": str}
_JOBS: dict[str, type] = _EVERYWHERE | {
    "interface": str,
    "local_directory": str,
    "log_directory": str,
    "job_extra_directives": list,
    "job_directives_skip": list,
    "job_script_prologue": list,
    "worker_extra_args": list,
    "death_timeout": int,
    "shebang": str,
}
SETTINGS: dict[str, dict[str, type]] = {
    "slurm": _JOBS | {"account": str, "job_cpu": int, "job_mem": str},
    "pbs": _JOBS | {"account": str, "resource_spec": str},
    "lsf": _JOBS | {"project": str, "ncpus": int, "mem": int, "lsf_units": str, "use_stdin": bool},
    "sge": _JOBS | {"project": str, "resource_spec": str},
    "kubernetes": {
        "memory": str,
        "image": str,
        "namespace": str,
        "volumes": list,
        "volume_mounts": list,
        "env": dict,
    },
}
"""Kind of cluster -> its settings; but for `cores` and Kubernetes' own, those of `dask-jobqueue`, where they are
documented. `cores` is how many workers a job has; each takes one core."""

_SUBMIT = {"slurm": "sbatch", "pbs": "qsub", "lsf": "bsub", "sge": "qsub"}
_REQUIRED = {"kubernetes": ("memory", "image")}


class ClusterError(PipelineError, RuntimeError):
    """A cluster cannot be had."""


@dataclass(frozen=True)
class JobSettings:
    """How a site wants its jobs, checked."""

    kind: str
    """One of `SETTINGS`."""
    table: Mapping[str, Any]
    """As it was read from a TOML file."""

    def __post_init__(self) -> None:
        known = SETTINGS[self.kind]
        for name, value in self.table.items():
            if name not in known:
                raise InputError(f"[cluster.{self.kind}] has no setting {name!r}; there are {', '.join(sorted(known))}")
            if type(value) is not known[name]:
                wanted = {int: "a whole number", str: "text", list: "a list", bool: "true or false", dict: "a table"}
                raise InputError(f"[cluster.{self.kind}] {name} must be {wanted[known[name]]}, got {value!r}")
        for name in _REQUIRED.get(self.kind, ("memory",)):
            if name not in self.table:
                raise InputError(f"[cluster.{self.kind}] needs {name}: see docs/clusters.md")
        if self.num_workers < 1:
            raise InputError(f"[cluster.{self.kind}] cores must be at least 1, got {self.num_workers}")
        self.memory_mib  # noqa: B018  # which checks it

    @property
    def num_workers(self) -> int:
        """Of one job."""
        return int(self.table.get("cores", 1))

    def num_jobs(self, num_workers: int) -> int:
        """How many jobs it takes."""
        return math.ceil(num_workers / self.num_workers)

    @property
    def memory_mib(self) -> int:
        """Of one job."""
        from dask.utils import parse_bytes

        text = self.table["memory"]
        try:
            return int(parse_bytes(text)) >> 20
        except ValueError as error:
            raise InputError(f"[cluster.{self.kind}] memory {text!r}: write it as '16 GiB'") from error

    def check_memory(self, worker: NeedsMemory) -> None:
        """Refuse jobs in which their workers have no room.

        Raises:
            ValueError: It is so; the message says how much they need.
        """
        needed = self.num_workers * worker.total_mib
        if self.memory_mib < needed:
            raise InputError(
                f"[cluster.{self.kind}] a job of {self.memory_mib:,} MiB is too small for {self.num_workers} workers "
                f"(cores), which take up to {worker.total_mib:,} MiB each: give memory = "
                f"'{math.ceil(needed / 1024)} GiB', or fewer cores"
            )


@contextmanager
def connected(
    address: str, preflight: Preflight, *, wait_seconds: float | None, say: Callable[[str], None]
) -> Iterator[DaskExecutor]:
    """Use a running scheduler and its workers, which go on when this run has ended.

    Args:
        address: Such as `tcp://10.0.0.1:8786`.
        preflight: What a worker must have.
        wait_seconds: For how long to wait where there is no worker; None is for ever.
        say: Is told of workers that lack something or are not there.

    Raises:
        SchedulerError: No scheduler answers there, or it cannot be used.
        NoWorkersError: No worker has come, or none may take part.
    """
    from distributed import Client

    _silence_dask()
    try:
        client = Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except OSError as error:
        raise SchedulerError(
            f"no Dask scheduler answers at {address}: start one with `dask scheduler`, or repair the address ({error})"
        ) from error
    with closing(client), _prepared(client, preflight, wait_seconds, say) as executor:
        yield executor


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
        num_workers: Workers in all.
        preflight: What a worker must have.
        wait_seconds: For how long to wait where there is no worker; None is for ever.
        say: Is told of workers that lack something or are not there.

    Raises:
        ClusterError: The batch system does not take the jobs.
        NoWorkersError: No worker has come, or none may take part.
    """
    import dask
    from distributed import Client

    _silence_dask()
    with dask.config.set({"distributed.scheduler.allowed-failures": MAX_ATTEMPTS - 1}), ExitStack() as stack:
        cluster = stack.enter_context(closing(_start(settings, num_workers)))
        client = stack.enter_context(closing(Client(cluster, set_as_default=False)))
        yield stack.enter_context(_prepared(client, preflight, wait_seconds, say))


def job_script(settings: JobSettings) -> str:
    """What is submitted for each job, or Kubernetes' specification of the cluster. Nothing is started."""
    if settings.kind == "kubernetes":
        import json

        return json.dumps(kubernetes_spec(settings, "fda", 1), indent=2) + "\n"
    job = _cluster_class(settings.kind).job_cls
    return str(job("tcp://SCHEDULER", name="NAME", **_job_options(settings)).job_script())


def kubernetes_spec(settings: JobSettings, name: str, num_workers: int) -> dict[str, Any]:
    """A `DaskCluster` of Dask's operator: each worker is a pod."""
    from dask_kubernetes.operator import make_cluster_spec

    table = settings.table
    limits = {"memory": f"{settings.memory_mib}Mi", "cpu": "1"}
    spec: dict[str, Any] = make_cluster_spec(
        name=name,
        image=table["image"],
        n_workers=num_workers,
        env=ONE_THREAD | table.get("env", {}),
        worker_command="dask worker --nthreads 1 --memory-limit 0",
    )
    worker = spec["spec"]["worker"]["spec"]
    (container,) = worker["containers"]
    container["resources"] = {"requests": limits, "limits": limits}
    container["volumeMounts"] = table.get("volume_mounts", [])
    worker["volumes"] = table.get("volumes", [])
    return spec


def _job_options(settings: JobSettings) -> dict[str, Any]:
    """Arguments of a job of `dask-jobqueue`."""
    table = dict(settings.table)
    prologue = [f"export {name}={value}" for name, value in ONE_THREAD.items()]
    return table | {
        "cores": settings.num_workers,
        "processes": settings.num_workers,
        "job_name": "fda",
        "worker_extra_args": ["--memory-limit", "0", *map(shlex.quote, table.get("worker_extra_args", []))],
        "job_script_prologue": [*prologue, *table.get("job_script_prologue", [])],
    }


def _cluster_class(kind: str) -> Any:
    try:
        import dask_jobqueue
    except ModuleNotFoundError as error:
        raise ClusterError("--cluster needs dask-jobqueue: install fda[cluster]") from error
    return getattr(dask_jobqueue, f"{kind.upper()}Cluster")


def _start(settings: JobSettings, num_workers: int) -> Any:
    num_jobs = settings.num_jobs(num_workers)
    if settings.kind == "kubernetes":
        try:
            from dask_kubernetes.operator import KubeCluster
        except ModuleNotFoundError as error:
            raise ClusterError("--cluster kubernetes needs dask-kubernetes: install fda[kubernetes]") from error
        spec = kubernetes_spec(settings, f"fda-{uuid.uuid4().hex[:8]}", num_jobs)
        return KubeCluster(custom_cluster_spec=spec, namespace=settings.table.get("namespace"), quiet=True)
    from distributed import Status

    cluster_class = _cluster_class(settings.kind)
    command = _SUBMIT[settings.kind]
    if shutil.which(command) is None:
        raise ClusterError(f"{command} is not on the PATH: run this where jobs are submitted")
    cluster = cluster_class(
        **_job_options(settings),
        scheduler_options={"dashboard_address": ":0"},  # any free port: two runs at once must not quarrel over one
        silence_logs="critical",
    )
    try:
        for _ in range(num_jobs):  # what `Cluster.scale` does, but that nobody would hear of what goes wrong there
            cluster.worker_spec.update(cluster.new_worker_spec())
        cluster.sync(cluster._correct_state)
    except (RuntimeError, ValueError, OSError) as error:
        for job in cluster.workers.values():
            if job.job_id is None:
                job.status = Status.failed  # without which the cluster does not close
        cluster.close()
        raise ClusterError(f"{command} did not take the job: {_last_line(str(error))}") from error
    return cluster


def _last_line(text: str) -> str:
    """What the batch system said, of all that `dask-jobqueue` reports."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it did not say why"


def _silence_dask() -> None:
    """What goes wrong is an error of the run, in one line; Dask would print where it was as well."""
    for name in ("distributed", "distributed.client"):  # which has a level of its own
        logging.getLogger(name).setLevel(logging.CRITICAL)


@contextmanager
def _prepared(
    client: Client, preflight: Preflight, wait_seconds: float | None, say: Callable[[str], None]
) -> Iterator[DaskExecutor]:
    executor = DaskExecutor(client, preflight, wait_seconds=wait_seconds, say=say)
    executor.watch.wait()
    executor.watch.say_threads()
    try:
        yield executor
    finally:
        if client.status == "running":  # workers that go on keep no decoder
            client.run(close_decoders, workers=sorted(executor.watch.fit), on_error="ignore")
