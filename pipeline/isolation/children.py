"""Processes that a run starts: new interpreters, which end with it and leave the reaction to signals to it."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.isolation.signals import REQUESTS_TO_STOP, signals_blocked
from pipeline.run.resources import ONE_THREAD

_PROGRAM = (
    "import runpy, fda\n"  # fda takes its own packages, so that a `store.py` beside a notebook cannot hide ours
    "runpy.run_module({module!r}, run_name='__main__', alter_sys=True)"
)


def start_child(
    module: str, arguments: Sequence[str], inherited: Sequence[int], environment: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Run a module of ours as a program, without waiting for it.

    Not by `multiprocessing`: it makes semaphores in /dev/shm, which stay there if all processes of a run are killed at
    once, and it imports its user's script once more.

    Args:
        module: Its name.
        arguments: Of the program.
        inherited: Open files that it gets, under the same numbers.
        environment: Variables on top of those of this process and `ONE_THREAD`.
    """
    with signals_blocked(*REQUESTS_TO_STOP):
        return subprocess.Popen(
            # -P: not the current folder, where a user's file may have the name of a module of ours.
            [sys.executable, "-P", "-c", _PROGRAM.format(module=module), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=2,  # to stderr: what a library prints must not get into the results on stdout
            pass_fds=inherited,
            env={
                **os.environ,
                **ONE_THREAD,
                **(environment or {}),
                # What is imported here must be importable there.
                "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path),
            },
        )


def die_with_parent(lifeline: int) -> None:
    """Let the kernel kill this process when a pipe closes, whose other end its parent holds and never writes to.

    Even a process that is stuck in C code ends then. Only on Linux. Not `PR_SET_PDEATHSIG`, which fires when the thread
    that started this process ends.
    """
    if sys.platform == "linux":
        import fcntl

        fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(lifeline, fcntl.F_SETSIG, int(signal.SIGKILL))
        fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)
        poll = select.poll()
        poll.register(lifeline, 0)  # a hang-up is reported even if no event is asked for
        if poll.poll(0):  # it closed before F_SETSIG: no signal will come
            os._exit(0)
