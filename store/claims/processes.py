"""Telling whether a process that wrote its name into a file is still running."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ProcessId:
    """One process of one machine, told apart from every later one that gets the same number."""

    pid: int
    started: int
    """Clock ticks since the machine started; 0 where the system does not say."""
    machine: str
    """See `this_machine`."""


@cache
def this_machine() -> str:
    """Name of what gives out process numbers here, or "" where the system does not say (it is not Linux).

    The start of the kernel, and the namespace of process numbers: two containers on one host have two. And the host
    name, for virtual machines that were copied while they ran. What has the same name has the same processes.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        namespace = Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        return ""
    return f"{socket.gethostname()} {boot} {namespace}"


def this_process() -> ProcessId:
    """The process that asks."""
    state = _state_and_start(os.getpid())
    return ProcessId(os.getpid(), state[1] if state else 0, this_machine())


def is_running(process: ProcessId) -> bool | None:
    """Whether a process is running, be it stopped for now; None where this machine cannot tell."""
    if not process.machine or process.machine != this_machine():
        return None
    try:
        os.kill(process.pid, 0)  # not only a look into /proc, which may hide the processes of other users
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # there is one, of another user
    state = _state_and_start(process.pid)
    if state is None:
        return None
    # A zombie has ended, whether or not its parent has looked.
    return state[0] not in "ZXx" and state[1] == process.started


def _state_and_start(pid: int) -> tuple[str, int] | None:
    """State and start of a process: fields 3 and 22 of /proc/PID/stat, or None where it cannot be read."""
    try:
        # the name comes second, in brackets, and may itself hold brackets and blanks
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        return fields[0].decode(), int(fields[19])
    except OSError:
        return None
