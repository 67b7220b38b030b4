"""Where the work is done: in this process, on this machine, by a Dask scheduler, or by jobs of a cluster."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

from pipeline.errors import OptionError
from pipeline.run.events import Reporter
from pipeline.run.machine import num_cores
from pipeline.run.options import SCHEDULER_WAIT_SECONDS, RunOptions
from pipeline.run.resources import NeedsMemory, machine_memory_mib
from pipeline.run.words import plural
from pipeline.workers.dask import local_dask
from pipeline.workers.executors import Executor, run_synchronously
from pipeline.workers.job_settings import JobSettings
from pipeline.workers.preflight import Preflight
from pipeline.workers.threads import ThreadExecutor

SECONDS_ALONE = 5.0
"""Work of this process for which no workers are started by default. They take two seconds to start on an idle machine,
and longer from a network disk: each imports Dask and what a task needs, and starts a decoder. Two of them would be done
no sooner with 4 seconds of work, for twice the processor time."""

SECONDS_IN_A_THREAD = 1.5
"""The same where workers are threads: one more takes the start of its decoder, a quarter of a second."""

MAX_THREADS = 8
"""Workers on this machine that are threads, for tasks that allow it. More are processes, because threads share one
interpreter: beside decoding, a video takes 7 ms of this process, in part of which no other thread may run."""

_ADDRESS = re.compile(r"(tcp|tls)://[^\s/:]+|(tcp|tls)://\[[0-9a-fA-F:]+\]")


@dataclass(frozen=True, slots=True)
class Workload:
    """What the workers are for."""

    num_shards: int
    """Pending."""
    memory: NeedsMemory
    """What one worker takes."""
    preflight: Callable[[], Preflight]
    """Gives what workers elsewhere must have."""
    alone: str
    """Where the work is done without workers, for a message."""
    remedy: str
    """What to do about workers that do not fit into this machine, for a message."""
    end_waiting: Callable[[Collection[int]], None] | None = None
    """For tasks that wait for other processes most of their time: ends these. Such tasks run in threads."""


def check_place(run: RunOptions, memory: NeedsMemory | None = None) -> None:
    """Refuse a place of work that cannot be, before anything begins.

    Args:
        run: As the user gave it.
        memory: What one worker takes, if that is known already.

    Raises:
        OptionError: The scheduler's address is none, a setting of the cluster is wrong, or its jobs are too small.
    """
    if run.scheduler is not None:
        host, _, port = run.scheduler.rpartition(":")
        if not (_ADDRESS.fullmatch(host) and port.isdigit() and 0 < int(port) < 1 << 16):
            raise OptionError(f"scheduler {run.scheduler!r} is not tcp://HOST:PORT")
    if run.cluster is not None:
        settings = _job_settings(run)
        if memory is not None:
            try:
                settings.check_memory(memory)
            except ValueError as error:
                raise OptionError(str(error)) from error


def workers_by_default(num_tasks: int, seconds: float, *, in_threads: bool = False) -> int:
    """Workers on this machine for some work, of which no more are started than fit into memory: see `executor_for`.

    Args:
        num_tasks: Shards, or what else one worker does at a time.
        seconds: What this process takes for all of them, about.
        in_threads: Whether workers may be threads: see `Workload.end_waiting`.

    Returns:
        The number of cores; 0 where this process alone is done as soon as workers that have to start first.
    """
    alone = SECONDS_IN_A_THREAD if in_threads and num_cores() <= MAX_THREADS else SECONDS_ALONE
    return 0 if num_tasks <= 1 or seconds <= alone else num_cores()


@contextmanager
def executor_for(run: RunOptions, work: Workload, report: Reporter, *, default: int) -> Iterator[tuple[Executor, int]]:
    """What runs the tasks, and how many workers that are: 0 if the work is done in this process.

    Args:
        run: Where to work.
        work: What is to be done.
        report: Is told how many workers there are and what they take.
        default: Workers on this machine, unless `run.workers` says so; 0 is this process.
    """
    wanted = default if run.workers is None else run.workers
    if work.num_shards == 0:
        yield run_synchronously, 0
    elif run.scheduler is not None:
        from pipeline.workers.clusters import connected  # which loads a decoder, to end it on workers of others

        limit = run.worker_timeout_seconds or SCHEDULER_WAIT_SECONDS
        with connected(run.scheduler, work.preflight(), wait_seconds=limit, say=report.say) as executor:
            num_workers = len(executor.watch.fit)
            each = f"at most about {work.memory.total_mib:,} MiB each"
            report.say(f"{plural(num_workers, 'worker')} at {run.scheduler}, {each}")
            yield executor, num_workers
    elif run.cluster is not None:
        from pipeline.workers.clusters import job_cluster

        settings, num_workers = _job_settings(run), min(wanted, work.num_shards)
        report.say(f"{plural(num_workers, 'worker')} as {plural(settings.num_jobs(num_workers), 'job')}")
        preflight, limit_or_none = work.preflight(), run.worker_timeout_seconds
        with job_cluster(settings, num_workers, preflight, wait_seconds=limit_or_none, say=report.say) as executor:
            yield executor, num_workers
    elif num_workers := _num_fitting(wanted, work, report):
        with _local(num_workers, work) as executor:
            yield executor, num_workers
    else:
        yield run_synchronously, 0


def _local(num_workers: int, work: Workload) -> AbstractContextManager[Executor]:
    """Workers on this machine: threads where these do, else processes, which take seconds to start."""
    if work.end_waiting is not None and num_workers <= MAX_THREADS:
        return nullcontext(ThreadExecutor(num_workers, work.end_waiting))
    return local_dask(num_workers)


def _job_settings(run: RunOptions) -> JobSettings:
    assert run.cluster is not None
    try:
        return JobSettings(run.cluster.kind, run.cluster.settings)
    except ValueError as error:
        raise OptionError(str(error)) from error


def _num_fitting(wanted: int, work: Workload, report: Reporter) -> int:
    """Workers on this machine: no more than pending shards, and than fit into memory."""
    memory, wanted = work.memory, min(wanted, work.num_shards)
    if wanted == 0:
        report.say(f"{work.alone}, at most about {memory.total_mib:,} MiB")
        return 0
    machine_mib = machine_memory_mib()
    num_workers = memory.num_fitting(wanted, machine_mib)
    why = f": {wanted} do not fit into {machine_mib:,} MiB ({work.remedy})" if num_workers < wanted else ""
    report.say(f"{plural(num_workers, 'worker')}, at most about {memory.total_mib:,} MiB each{why}")
    return num_workers
