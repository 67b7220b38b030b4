"""Cores and memory that this process may use: containers and batch systems limit them, mostly by cgroups.

A limit holds for all groups below the one that has it. A job of SLURM is some levels down: the root of the tree, where
a container has its limit, says nothing of it.
"""

from __future__ import annotations

import math
import os
import resource
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_NO_LIMIT = 1 << 60
"""Bytes: the first version of cgroups writes a number near 2**63 where there is none."""


@dataclass(frozen=True, slots=True)
class CgroupLimits:
    """The tightest limits of the groups that this process is in; None where there is none."""

    cores: float | None
    """Cores' worth of time: `1.5`."""
    memory_bytes: int | None


def num_cores() -> int:
    """Cores that this process may use: by its affinity, and by the time that a container or a batch system gives."""
    quota = cgroup_limits().cores
    here = affinity_cores()
    return here if quota is None else max(1, min(here, math.ceil(quota)))


def affinity_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def installed_memory_bytes() -> int:
    """Memory of the machine, whoever may use it."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def memory_bytes() -> int:
    """Memory that this process may use: the machine's, or less if cgroups or resource limits say so."""
    hard_limit = resource.getrlimit(resource.RLIMIT_RSS)[1]
    limits = (cgroup_limits().memory_bytes, hard_limit if hard_limit > 0 else None)
    return min([installed_memory_bytes(), *(limit for limit in limits if limit is not None)])


def cgroup_limits(root: Path = Path("/")) -> CgroupLimits:
    """What the cgroups of this process allow.

    Args:
        root: Where `proc` is.
    """
    cores: list[float] = []
    num_bytes: list[int] = []
    for folder in _groups(root):
        cores += _cores_of(folder)
        num_bytes += _bytes_of(folder)
    return CgroupLimits(min(cores, default=None), min(num_bytes, default=None))


def _groups(root: Path) -> Iterator[Path]:
    """Folders of the groups of this process, and of those above them, in every hierarchy that is mounted."""
    try:
        groups = (root / "proc/self/cgroup").read_text().splitlines()
        mounts = (root / "proc/self/mountinfo").read_text().splitlines()
    except (OSError, ValueError):
        return  # no Linux, or one that does not tell
    # Lines of `cgroup`: NUMBER:CONTROLLERS:PATH; in the second version of cgroups one line, without controllers.
    paths = [(set(names.split(",")), path) for _, names, path in (line.split(":", 2) for line in groups)]
    for line in mounts:
        # Lines of `mountinfo` (proc(5)): id, parent, device, root of what is mounted, mount point, options, some more -
        # kind, source, options of the file system, among which are the controllers of the first version.
        before, _, after = line.partition(" - ")
        place, (kind, *_, options) = before.split(), after.split()
        for controllers, path in paths:
            is_its = controllers == {""} if kind == "cgroup2" else controllers <= set(options.split(","))
            if kind in ("cgroup", "cgroup2") and is_its:
                yield from _with_parents(root / place[4].lstrip("/"), path, mounted=place[3])


def _with_parents(mount: Path, path: str, *, mounted: str) -> Iterator[Path]:
    """The folder of a group below a mount of `mounted`, and those above it, up to the mount."""
    inside = path.removeprefix(mounted.rstrip("/")) if path.startswith(mounted) else path
    parts = [part for part in inside.split("/") if part not in ("", "..")]
    for length in range(len(parts), -1, -1):
        yield mount.joinpath(*parts[:length])


def _cores_of(folder: Path) -> list[float]:
    first = (*_words(folder / "cpu.cfs_quota_us", 1), *_words(folder / "cpu.cfs_period_us", 1))
    words = _words(folder / "cpu.max", 2) or first  # the second version of cgroups, or the first
    is_limited = len(words) == 2 and all(word.isdigit() and int(word) for word in words)
    return [int(words[0]) / int(words[1])] if is_limited else []


def _bytes_of(folder: Path) -> list[int]:
    names = ("memory.max", "memory.high", "memory.limit_in_bytes")
    found = [int(words[0]) for name in names if (words := _words(folder / name, 1)) and words[0].isdigit()]
    return [limit for limit in found if 0 < limit < _NO_LIMIT]


def _words(file: Path, number: int) -> tuple[str, ...]:
    """The words of a file that has so many; none of one that is not there."""
    try:
        words = tuple(file.read_text().split())
    except (OSError, ValueError):
        return ()
    return words if len(words) == number else ()
