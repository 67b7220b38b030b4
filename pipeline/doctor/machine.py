"""Cores, memory, limits and the terminal: cheap, and looked at in this process, whose terminal it is."""

from __future__ import annotations

import locale
import os
import platform
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from pipeline.doctor.checks import Check, State
from pipeline.frames.options import PreprocessOptions
from pipeline.run.machine import (
    affinity_cores,
    cgroup_limits,
    installed_memory_bytes,
    memory_bytes,
    num_cores,
)
from pipeline.run.resources import WorkerMemory
from pipeline.run.words import plural

GROUP, TERMINAL = "machine", "terminal"
LEAST_FILES = 1024
"""Open files: a worker has some dozens, and a coordinator a few for each worker."""
LEAST_MEMORY = 4 << 30
"""Bytes: a worker of `fda preprocess` may take 2.4 GiB, see `pipeline.run.resources`."""
LEAST_SHARED = 256 << 20
"""Bytes in /dev/shm: NCCL's processes of one machine exchange gradients there; containers often have 64 MiB."""


def check(place: str | None) -> Iterator[Check]:
    """What this process may use of the machine."""
    system = f"{platform.system()} {platform.release()}, {platform.machine()}"
    yield Check(GROUP, "system", State.OK, system)
    yield from _cores()
    yield _memory()
    yield _open_files()
    yield from _shared_memory()
    yield _terminal()


def _cores() -> Iterator[Check]:
    there, here, quota = os.cpu_count() or 1, affinity_cores(), cgroup_limits().cores
    parts = [f"{_cpu_name()}, {plural(there, 'core')}"]
    parts += [f"this process may run on {here}"] if here < there else []
    parts += [f"a cgroup gives the time of {quota:g}"] if quota is not None and quota < here else []
    yield Check(GROUP, "CPU", State.OK, "; ".join(parts), used=_workers())
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        given = os.environ.get(name, "")
        if given.isdigit() and int(given) < num_cores():
            found = f"{given}: encode and finetune use {plural(int(given), 'core')} of {num_cores()} on a CPU"
            yield Check(GROUP, name, State.WARNING, found, remedy=f"unset {name}")
            return


def _workers() -> str:
    """How many `fda preprocess` starts with default options, and what each takes."""
    options = PreprocessOptions()
    memory = WorkerMemory(options.shard_size, options.eval_frames, options.image_size)
    number = memory.num_fitting(num_cores(), memory_bytes() >> 20)
    fewer = "; more do not fit into memory" if number < num_cores() else ""
    each = "" if number == 1 else " each"
    return f"{plural(number, 'worker')} in preprocess, of at most {memory.total_mib:,} MiB{each}{fewer}"


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name") and ":" in line]
    if names:
        return names[0]
    if sys.platform == "darwin":
        command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
        told = subprocess.run(command, capture_output=True, text=True, check=False, timeout=5)
        if told.returncode == 0:
            return told.stdout.strip()
    return platform.processor() or platform.machine() or "a CPU"


def _memory() -> Check:
    there, here = installed_memory_bytes(), memory_bytes()
    found = f"{there / 2**30:,.1f} GiB" + (f", limited to {here / 2**30:,.1f} GiB" if here < there else "")
    if here < LEAST_MEMORY:
        remedy = "give the job or container 4 GiB or more, or decode with `--workers 0`"
        return Check(GROUP, "memory", State.WARNING, f"{found}: one worker may take 2.4 GiB", remedy=remedy)
    return Check(GROUP, "memory", State.OK, found)


def _open_files() -> Check:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    found = "no limit" if soft == resource.RLIM_INFINITY else f"{soft:,} at a time"
    if soft != resource.RLIM_INFINITY and soft < LEAST_FILES:
        wanted = LEAST_FILES if hard == resource.RLIM_INFINITY else min(4 * LEAST_FILES, hard)
        remedy = f"ulimit -n {wanted}"
        return Check(GROUP, "open files", State.WARNING, f"{found}: many workers need more", remedy=remedy)
    return Check(GROUP, "open files", State.OK, found)


def _shared_memory() -> Iterator[Check]:
    if sys.platform != "linux":
        return
    try:
        found = os.statvfs("/dev/shm")
    except OSError as error:
        text = f"not there ({error.strerror}): finetune on several GPUs needs it"
        yield Check(GROUP, "/dev/shm", State.WARNING, text, remedy="mount a tmpfs there")
        return
    free = found.f_bavail * found.f_frsize
    text = f"{free / 2**20:,.0f} MiB free"
    if free < LEAST_SHARED:
        remedy = "in a container, start it with --shm-size=1g"
        text = f"{text}: finetune on several GPUs needs more"
        yield Check(GROUP, "/dev/shm", State.WARNING, text, remedy=remedy)
    else:
        yield Check(GROUP, "/dev/shm", State.OK, text)


def _terminal() -> Check:
    encoding = (getattr(sys.stdout, "encoding", None) or locale.getpreferredencoding(False)).lower()
    names = sys.getfilesystemencoding().lower()
    language = next((os.environ[name] for name in ("LC_ALL", "LC_CTYPE", "LANG") if os.environ.get(name)), "not set")
    found = f"prints {encoding}, reads names of files as {names}, locale {language}"
    if encoding.startswith("utf") and names.startswith("utf"):
        return Check(TERMINAL, "encoding", State.OK, found)
    remedy = "export LC_ALL=C.UTF-8, or PYTHONUTF8=1"
    found = f"{found}: letters that it lacks are printed as escapes"
    return Check(TERMINAL, "encoding", State.WARNING, found, remedy=remedy)
