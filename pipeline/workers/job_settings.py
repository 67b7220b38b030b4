"""How a site wants its jobs: the table `[cluster.NAME]` of a TOML file, checked.

For a batch system, the settings are the arguments of dask-jobqueue's own job class: their names come from its
signature, their types from its documentation. So a setting that a new version brings needs no change here.
"""

from __future__ import annotations

import importlib
import inspect
import math
import re
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Self

from pipeline.errors import InputError, OptionError, PipelineError
from pipeline.run.options import ClusterOptions
from pipeline.run.resources import NeedsMemory
from pipeline.run.words import plural
from store.remedies import install_extra

_Types = tuple[type, ...]

_KUBERNETES: dict[str, _Types] = {
    "memory": (str,),
    "image": (str,),
    "namespace": (str,),
    "volumes": (list,),
    "volume_mounts": (list,),
    "env": (dict,),
}
_REQUIRED = {"kubernetes": ("memory", "image")}

_DOCUMENTED_TYPES: dict[str, _Types] = {
    "int": (int,),
    "float": (int, float),
    "str": (str,),
    "bool": (bool,),
    "list": (list,),
    "dict": (dict,),
}
_WANTED = {
    int: "a whole number",
    float: "a number",
    str: "text",
    list: "a list",
    bool: "true or false",
    dict: "a table",
}

_SET_HERE = {"scheduler", "name", "processes", "nanny", "protocol", "security", "worker_command", "job_name"}
"""Arguments of a job that are decided by what the work needs, not by the site."""
_NO_SETTINGS = {"self", "config_name"}
"""`config_name` would read Dask's own configuration file instead of ours."""

_PARAMETER = re.compile(r"^(\w+) ?: *(\w+)[^\n]*\n *(Deprecated)?", re.MULTILINE)
"""A parameter in a NumPy docstring: its name, its type, and whether the text under it begins with `Deprecated`."""


class ClusterError(PipelineError, RuntimeError):
    """A cluster cannot be used: a package is missing, or the batch system rejects the jobs."""


@dataclass(frozen=True)
class JobSettings:
    """The settings of one kind of cluster.

    Raises:
        ValueError: A setting is unknown, of the wrong type or missing; the message names it.
        ClusterError: dask-jobqueue is not installed.
    """

    kind: str
    """One of `pipeline.run.options.CLUSTER_KINDS`."""
    table: Mapping[str, Any]
    """As read from a TOML file."""

    def __post_init__(self) -> None:
        known = settings_of(self.kind)
        for name, value in self.table.items():
            if name not in known:
                raise InputError(f"[cluster.{self.kind}] has no setting {name!r}; there are {', '.join(sorted(known))}")
            if known[name] and type(value) not in known[name]:  # `type`: true is no whole number
                raise InputError(f"[cluster.{self.kind}] {name} must be {_WANTED[known[name][-1]]}, got {value!r}")
            if isinstance(value, list) and self.kind != "kubernetes" and not all(isinstance(one, str) for one in value):
                raise InputError(f"[cluster.{self.kind}] {name} must be a list of texts, got {value!r}")
        for name in _REQUIRED.get(self.kind, ("memory",)):
            if name not in self.table:
                raise InputError(f"[cluster.{self.kind}] needs {name}: see docs/clusters.md")
        if self.num_workers < 1:
            raise InputError(f"[cluster.{self.kind}] cores must be at least 1, got {self.num_workers}")
        self.memory_mib  # noqa: B018  # raises if it is not a size

    @classmethod
    def of(cls, cluster: ClusterOptions) -> Self:
        """Check what a user says of a cluster.

        Raises:
            OptionError: A setting is unknown, of the wrong type or missing; the message names it.
            ClusterError: dask-jobqueue is not installed.
        """
        try:
            return cls(cluster.kind, cluster.settings)
        except ValueError as error:
            raise OptionError(str(error)) from error

    @property
    def num_workers(self) -> int:
        """Workers of one job; each takes one core."""
        return int(self.table.get("cores", 1))

    def num_jobs(self, num_workers: int) -> int:
        """How many jobs so many workers take."""
        return math.ceil(num_workers / self.num_workers)

    @property
    def memory_mib(self) -> int:
        """Memory of one job."""
        from dask.utils import parse_bytes

        text = self.table["memory"]
        try:
            return int(parse_bytes(text)) >> 20
        except ValueError as error:
            raise InputError(f"[cluster.{self.kind}] memory {text!r}: write it as '16 GiB'") from error

    def check_memory(self, worker: NeedsMemory) -> None:
        """Reject jobs that are too small for their workers.

        Raises:
            ValueError: They are; the message says how much memory they need.
        """
        needed = self.num_workers * worker.total_mib
        if self.memory_mib < needed:
            raise InputError(
                f"[cluster.{self.kind}] a job of {self.memory_mib:,} MiB is too small for "
                f"{plural(self.num_workers, 'worker')} (cores), which take up to {worker.total_mib:,} MiB each: give "
                f"memory = '{math.ceil(needed / 1024)} GiB', or fewer cores"
            )


@cache
def settings_of(kind: str) -> dict[str, _Types]:
    """Name -> the types that its value may have, of every setting of a kind of cluster; no types if any may be.

    Raises:
        ClusterError: dask-jobqueue is not installed.
    """
    if kind == "kubernetes":
        return _KUBERNETES
    job = job_class(kind)
    parameters = [one for base in job.__mro__ for one in inspect.signature(base.__init__).parameters.values()]
    names = {one.name for one in parameters if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)}
    documented = _PARAMETER.findall(inspect.getdoc(cluster_class(kind)) or "")
    types = {name: _DOCUMENTED_TYPES.get(word, ()) for name, word, _ in documented}
    deprecated = {name for name, _, is_deprecated in documented if is_deprecated}
    return {name: types.get(name, ()) for name in names - _SET_HERE - _NO_SETTINGS - deprecated}


def job_class(kind: str) -> Any:
    """dask-jobqueue's class of one job of a batch system.

    Raises:
        ClusterError: dask-jobqueue is not installed.
    """
    return getattr(_jobqueue(kind), f"{kind.upper()}Job")


def cluster_class(kind: str) -> Any:
    """dask-jobqueue's class of a cluster on a batch system.

    Raises:
        ClusterError: dask-jobqueue is not installed.
    """
    return getattr(_jobqueue(kind), f"{kind.upper()}Cluster")


def _jobqueue(kind: str) -> Any:
    before = signal.getsignal(signal.SIGINT)
    try:
        return importlib.import_module(f"dask_jobqueue.{kind}")
    except ModuleNotFoundError as error:
        raise ClusterError(f"--cluster needs dask-jobqueue: {install_extra('cluster')}") from error
    finally:
        # Importing it lets Ctrl-C end any program without a word and with exit code 0, as if all were done.
        if signal.getsignal(signal.SIGINT) is not before:
            signal.signal(signal.SIGINT, before)
