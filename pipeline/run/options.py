"""How a run is carried out: by which workers, which part of it, and what it may replace. Nothing here changes bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from operator import index
from typing import Any

from pipeline.errors import OptionError
from pipeline.run.fields import check_yes, convert_fields
from pipeline.run.partition import WHOLE, Partition

BATCH_SYSTEMS = ("slurm", "pbs", "lsf", "sge")
"""Those of dask-jobqueue that this package has been tried with, as job scripts at least."""
CLUSTER_KINDS = (*BATCH_SYSTEMS, "kubernetes")
SCHEDULER_WAIT_SECONDS = 300.0
"""How long to wait for the workers of a running scheduler. Jobs of a cluster may wait in a queue for days."""


class SourceCheck(StrEnum):
    """How a video is compared with what its clip was made of. A video that is gone has not changed."""

    OFF = "off"
    SIZE = "size"
    CONTENT = "content"
    """By sha256: reads the whole file."""


@dataclass(frozen=True, slots=True)
class ClusterOptions:
    """A batch system, and how its jobs are submitted."""

    kind: str
    """`slurm`, `pbs`, `lsf`, `sge` or `kubernetes`."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of dask-jobqueue's class for it: see docs/clusters.md."""

    def __post_init__(self) -> None:
        if self.kind not in CLUSTER_KINDS:
            raise OptionError(f"no cluster {self.kind!r}: use one of {', '.join(CLUSTER_KINDS)}")


@dataclass(frozen=True, slots=True)
class RunOptions:
    """Where a run works, and what it may do."""

    workers: int | None = None
    """Workers on this machine, or of `cluster`; 0 works in this process. Those of `preprocess` are decoder processes of
    threads, which share shards, while no more than 8 shards are made at a time; all others are processes. Default: the
    number of cores, or fewer if memory is short; 0 for a few seconds of work."""
    scheduler: str | None = None
    """Address of a running Dask scheduler, such as `tcp://10.0.0.1:8786`: its workers are used."""
    cluster: ClusterOptions | None = None
    """A batch system to which `workers` workers are submitted."""
    worker_timeout_seconds: float | None = None
    """How long to wait if there is no worker. Default: 300 with a scheduler, without end with a cluster."""
    partition: Partition = WHOLE
    """Part of the shards to work on, for array jobs."""
    wait: bool = False
    """Wait until another run that writes the same has ended. Default: raise `StoreBusyError`."""
    overwrite: bool = False
    """Remove first what the run would make. Files that are not of the store stay."""
    yes: bool = False
    """With `overwrite`: also where feature sets are removed, or are out of date then. Default: `UnconfirmedError`."""

    def __post_init__(self) -> None:
        convert_fields(self, workers=index)
        if self.workers is not None and self.workers < 0:
            raise OptionError(f"workers must be 0 or more, got {self.workers}")
        if self.scheduler is not None and self.cluster is not None:
            raise OptionError("give --scheduler or --cluster, not both")
        if self.scheduler is not None and self.workers is not None:
            raise OptionError("--workers is for workers that this run starts: --scheduler has its own")
        if self.cluster is not None and not self.workers:
            raise OptionError("--cluster needs --workers: how many to start, in as many jobs as that takes")
        if self.worker_timeout_seconds is not None and self.scheduler is None and self.cluster is None:
            raise OptionError("--worker-timeout is for --scheduler and --cluster")
        check_yes(overwrite=self.overwrite, yes=self.yes)
        if self.overwrite and self.partition != WHOLE:
            raise OptionError("--overwrite would remove what the other parts have made: remove it before the job")


HERE = RunOptions()
"""On this machine, with as many workers as fit."""
