"""The program that runs the daemons of `tests/slurm.py`, in whose folder are their settings.

    python -m tests.slurm_daemons FOLDER MUNGED SLURMCTLD SLURMD

It imports nothing else of the tests: that takes a second of CPU time.
"""

from __future__ import annotations

import ctypes
import os
import select
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil


def serve(folder: Path, munged: str, slurmctld: str, slurmd: str) -> None:
    """Run the daemons until stdin ends, because the tests have closed it or were killed, or until one of them ends."""
    given = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}
    files = {name: folder / f"munge.{name}" for name in ("key", "socket", "pid", "log", "seed")}
    places = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
    munge = [munged, "--foreground", *(f"--{option}={files[name]}" for option, name in places.items())]
    commands = [munge, [slurmctld, "-D"], [slurmd, "-D"]]
    _adopt_orphans()
    daemons: list[subprocess.Popen[bytes]] = []
    try:
        for command in commands:
            daemons.append(subprocess.Popen(command, env=given, stdin=subprocess.DEVNULL))
            while not files["socket"].exists() and daemons[0].poll() is None:  # the others need munged
                time.sleep(0.01)
        while all(daemon.poll() is None for daemon in daemons):
            if select.select([sys.stdin], [], [], 0.5)[0]:
                return
        sys.exit("a daemon has ended by itself")
    finally:
        _kill_all()


def _adopt_orphans() -> None:
    """Become the parent of all that descends from this process and is orphaned: each step of a job begins as that."""
    pr_set_child_subreaper = 36
    if ctypes.CDLL(None, use_errno=True).prctl(pr_set_child_subreaper, 1, 0, 0, 0) != 0:
        sys.exit(f"no child subreaper: {os.strerror(ctypes.get_errno())}")


def _kill_all() -> None:
    """Kill the daemons, and every process of a job."""
    this = psutil.Process()
    while members := this.children(recursive=True):
        for process in members:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        with suppress(ChildProcessError):
            os.waitpid(-1, 0)


if __name__ == "__main__":
    serve(Path(sys.argv[1]), *sys.argv[2:])
