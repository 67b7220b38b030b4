"""What a command costs with all its processes, those that are killed too.

It is run under a parent of its own, which inherits and waits for every process that the command leaves.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks.measure import Cost
from tests.benchmarks.peers import ROOT

PARENT = """
import ctypes, json, os, subprocess, sys, time
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER: orphans become children of this process
start, cpu, codes = time.perf_counter(), 0.0, {}
pid = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL).pid
while True:
    try:
        ended, status, used = os.wait4(-1, 0)
    except ChildProcessError:
        break
    codes[ended], cpu = status, cpu + used.ru_utime + used.ru_stime
print(json.dumps([time.perf_counter() - start, cpu, codes[pid]]))
"""
"""Linux only."""


def cost_of(command: Sequence[str | Path], made: Path | None = None) -> Cost:
    """What a command and all its processes take; what it made is removed first."""
    if made is not None:
        shutil.rmtree(made, ignore_errors=True)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", PARENT, *command], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    wall, cpu, code = json.loads(done.stdout)
    if code:
        raise RuntimeError(f"{' '.join(map(str, command))} ended with {code}: {done.stderr[-2000:]}")
    return Cost(wall, cpu)


def fda(*words: str | Path) -> list[str | Path]:
    """A command line, as a shell runs it."""
    return [sys.executable, "-m", "cli.main", *words]
