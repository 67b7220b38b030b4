"""Where the work is done: in this process, on this machine, by a Dask scheduler, or by jobs of a cluster."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pipeline.errors import OptionError
from pipeline.run.events import Reporter
from pipeline.run.machine import num_cores
from pipeline.run.options import SCHEDULER_WAIT_SECONDS, RunOptions
from pipeline.run.resources import SHARE_OF_MACHINE, NeedsMemory, machine_memory_mib
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
"""Shards that threads on this machine make at a time, where tasks allow it. For more there are processes, because
threads share one interpreter: beside decoding, a video takes 7 ms of this process, in part of which no other thread may
run."""

_ADDRESS = re.compile(r"(tcp|tls)://[^\s/:]+|(tcp|tls)://\[[0-9a-fA-F:]+\]")


@dataclass(frozen=True, slots=True)
class InThreads:
    """Of tasks that wait for other processes most of their time, and use as many of these as are free: in threads."""

    end_waiting: Callable[[Collection[int]], None]
    """Ends what the tasks of some threads wait for: see `ThreadExecutor`."""
    num_parts: int
    """What can be done at a time at most, of all shards: more workers than shards work at the same ones."""
    helper_mib: int
    """What a worker takes that works at the shard of another."""


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
    in_threads: InThreads | None = None
    """Where tasks may run in threads."""

    @property
    def num_parts(self) -> int:
        """Workers that find something to do."""
        return self.num_shards if self.in_threads is None else max(self.num_shards, self.in_threads.num_parts)


@dataclass(frozen=True, slots=True)
class Workers:
    """Those of a run."""

    executor: Executor
    number: int
    """0: the work is done in this process."""
    num_decoders: int = 1
    """Of each process that runs tasks, of all its threads together."""


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
        settings = JobSettings.of(run.cluster)
        if memory is not None:
            try:
                settings.check_memory(memory)
            except ValueError as error:
                raise OptionError(str(error)) from error


def workers_by_default(num_parts: int, seconds: float, *, num_threads: int | None = None) -> int:
    """Workers on this machine for some work, of which no more are started than fit into memory: see `workers_for`.

    Args:
        num_parts: Shards, or what else one worker does at a time.
        seconds: What this process takes for all of them, about.
        num_threads: Shards, if they may be made in threads: see `InThreads`.

    Returns:
        The number of cores; 0 where this process alone is done as soon as workers that have to start first.
    """
    in_threads = num_threads is not None and min(num_threads, num_cores()) <= MAX_THREADS
    return 0 if num_parts <= 1 or seconds <= (SECONDS_IN_A_THREAD if in_threads else SECONDS_ALONE) else num_cores()


@contextmanager
def workers_for(run: RunOptions, work: Workload, report: Reporter, *, default: int) -> Iterator[Workers]:
    """What runs the tasks of a run.

    Args:
        run: Where to work.
        work: What is to be done.
        report: Is told how many workers there are and what they take.
        default: Workers on this machine, unless `run.workers` says so; 0 is this process.
    """
    wanted = default if run.workers is None else run.workers
    if work.num_shards == 0:  # no scheduler is asked, and no job is submitted, for nothing
        yield Workers(run_synchronously, 0)
    elif run.scheduler is not None:
        from pipeline.workers.clusters import connected  # which loads a decoder, to end it on workers of others

        limit = run.worker_timeout_seconds or SCHEDULER_WAIT_SECONDS
        with connected(run.scheduler, work.preflight(), wait_seconds=limit, say=report.say) as executor:
            num_workers = len(executor.watch.fit)
            report.say(f"{plural(num_workers, 'worker')} at {run.scheduler}, {_taking(num_workers, work)}")
            yield Workers(executor, num_workers)
    elif run.cluster is not None:
        from pipeline.workers.clusters import job_cluster

        settings, num_workers = JobSettings.of(run.cluster), min(wanted, work.num_shards)
        report.say(f"{plural(num_workers, 'worker')} as {plural(settings.num_jobs(num_workers), 'job')}")
        preflight, limit_or_none = work.preflight(), run.worker_timeout_seconds
        with job_cluster(settings, num_workers, preflight, wait_seconds=limit_or_none, say=report.say) as executor:
            yield Workers(executor, num_workers)
    elif wanted == 0:
        report.say(f"{work.alone}, at most about {work.memory.total_mib:,} MiB")
        yield Workers(run_synchronously, 0)
    elif work.in_threads is not None and _num_held(wanted, work) <= MAX_THREADS:
        yield _in_threads(wanted, work, work.in_threads, report)
    else:  # processes, which take seconds to start
        with local_dask(num_workers := _num_fitting(wanted, work, report)) as executor:
            yield Workers(executor, num_workers)


def _num_held(wanted: int, work: Workload) -> int:
    """Shards that workers on this machine hold at a time: one a worker, and no more than fit into memory."""
    return work.memory.num_fitting(min(wanted, work.num_shards), machine_memory_mib())


def _num_fitting(wanted: int, work: Workload, report: Reporter) -> int:
    """Workers on this machine that hold a shard each."""
    wanted, number = min(wanted, work.num_shards), _num_held(wanted, work)
    report.say(f"{plural(number, 'worker')}, {_taking(number, work)}{_why_fewer(number, wanted, work)}")
    return number


def _in_threads(wanted: int, work: Workload, how: InThreads, report: Reporter) -> Workers:
    """A thread for each shard that is made at a time; a worker more is one decoder more for those."""
    if wanted <= work.num_shards or how.num_parts <= work.num_shards:
        number = num_threads = _num_fitting(wanted, work, report)
    else:
        wanted, num_threads = min(wanted, how.num_parts), _num_held(wanted, work)
        total_mib = num_threads * work.memory.total_mib
        # A thread holds a shard and a decoder, a helper a decoder alone: what threads leave free is for helpers.
        room_mib = int(machine_memory_mib() * SHARE_OF_MACHINE) - total_mib
        num_helpers = max(0, min(wanted - num_threads, room_mib // how.helper_mib))
        number, total_mib = num_threads + num_helpers, total_mib + num_helpers * how.helper_mib
        at = f"{plural(number, 'worker')} at {plural(work.num_shards, 'shard')}"
        report.say(f"{at}, at most about {total_mib:,} MiB together{_why_fewer(number, wanted, work)}")
    return Workers(ThreadExecutor(num_threads, how.end_waiting), number, num_decoders=number)


def _taking(number: int, work: Workload) -> str:
    return f"at most about {work.memory.total_mib:,} MiB{'' if number == 1 else ' each'}"


def _why_fewer(number: int, wanted: int, work: Workload) -> str:
    return f": {wanted} do not fit into {machine_memory_mib():,} MiB ({work.remedy})" if number < wanted else ""
