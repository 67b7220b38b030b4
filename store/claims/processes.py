"""Identifying a process, and detecting whether it is still running."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ProcessId:
    """One process of one machine, distinguished from later processes with the same number."""

    pid: int
    started: int
    """Clock ticks from the start of the machine; 0 if the system does not tell."""
    machine: str
    """See `this_machine`."""


@cache
def this_machine() -> str:
    """Name of the namespace of process numbers, or "" if the system does not tell (it is not Linux).

    It contains the boot id of the kernel and the PID namespace, as two containers on one host have two of these; and
    the host name, as virtual machines may be copied while they run. Equal names mean the same processes.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        namespace = Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        return ""
    return f"{socket.gethostname()} {boot} {namespace}"


def this_process() -> ProcessId:
    """The current process."""
    state = _state_and_start(os.getpid())
    return ProcessId(os.getpid(), state[1] if state else 0, this_machine())


def is_running(process: ProcessId) -> bool | None:
    """Whether a process is running, or suspended; None if this machine cannot tell."""
    if not process.machine or process.machine != this_machine():
        return None
    try:
        os.kill(process.pid, 0)  # first, because /proc may hide the processes of other users
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it exists, and is of another user
    state = _state_and_start(process.pid)
    if state is None:
        return None
    # A zombie has ended, though its parent has not collected it yet.
    return state[0] not in "ZXx" and state[1] == process.started


def _state_and_start(pid: int) -> tuple[str, int] | None:
    """State and start of a process: fields 3 and 22 of /proc/PID/stat, or None if it cannot be read."""
    try:
        # the second field is the name in brackets, which may itself contain brackets and blanks
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        # Without the first two fields, number 3 is at 0 and number 22 at 19.
        return fields[0].decode(), int(fields[19])
    except OSError:
        return None
