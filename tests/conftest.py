"""Imported before any test, at the top of the stack.

`hypothesis` is imported here, and not first by some test module: pytest rewrites its modules as they are imported, and
in the middle of a deep chain of imports CPython 3.11 now and then fails at it ("AST constructor recursion depth
mismatch", python/cpython#106905).
"""

import gc
import os
import random
import shutil
import sys
import tempfile
from collections.abc import Generator, Iterator
from multiprocessing import forkserver
from pathlib import Path
from typing import TYPE_CHECKING

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: a process for each core already, or they all wait

import hypothesis
import pytest

from tests.s3 import server as server  # a fixture
from tests.seed import VARIABLE, seed
from tests.slurm import slurm as slurm  # a fixture
from tests.slurm import slurm_server as slurm_server  # another

if TYPE_CHECKING:
    from tests.clips_on_disk import Commands
    from tests.faults.trials import Trials

MEMORY = Path("/dev/shm")
ROOM_IN_MEMORY = 4 << 30
"""Bytes, far more than tests hold at a time: what a test that passed has written is removed at once."""


def is_folder_for_tests(folder: Path) -> bool:
    """Whether there is such a folder with room, in which programs may run: tests write some."""
    if not os.access(folder, os.W_OK) or shutil.disk_usage(folder).free < ROOM_IN_MEMORY:
        return False
    return not os.statvfs(folder).f_flag & os.ST_NOEXEC


if "TMPDIR" not in os.environ and is_folder_for_tests(MEMORY):
    # Tests sync tens of thousands of files: milliseconds each on a disk, where a power cut in a test loses nothing.
    os.environ["TMPDIR"] = tempfile.tempdir = str(MEMORY)  # pytest has asked for the folder of the system already

hypothesis.settings.register_profile("fda", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("fda")


@pytest.fixture(scope="session")
def trials() -> Iterator["Trials"]:
    """One for all tests of a process: what a command does when nothing disturbs it is recorded once."""
    from tests.faults.trials import trials_in_memory  # which loads torch: not for a test that needs neither

    with trials_in_memory() as trials:
        yield trials


@pytest.fixture
def fda(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> "Commands":
    """Calls `fda` in this process."""
    from tests.clips_on_disk import Commands  # which loads every command: not for a test that needs none

    return Commands(monkeypatch, capfd)


@pytest.fixture(scope="session", autouse=True)
def fork_server() -> None:
    """Started before any test that counts open files and processes, if there are tests that use it.

    In a fixture, whose output pytest captures: at its end, the resource tracker lists what killed processes left.
    """
    if "tests.forked" in sys.modules:
        from pipeline.workers import local_workers

        forkserver.ensure_running()
        local_workers.start_worker = sys.modules["tests.forked"].forked_worker


ORDER = "FDA_TEST_ORDER"
SHARED = ("slurm_server", "trials", "server")
"""Fixtures of the session that take seconds to make, those of the longest tests first."""


def pytest_xdist_auto_num_workers() -> int:
    """One process a core, and one more, for tests wait for processes, clocks and SLURM a fifth of their time.

    Each more would collect all tests, and start a fork server and servers for its fixtures, for less.
    """
    if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ:  # as xdist has it
        return int(os.environ["PYTEST_XDIST_AUTO_NUM_WORKERS"])
    return 1 + (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def pytest_report_header() -> str:
    return f"random seed of what tests draw: {seed()} ({VARIABLE}={seed()} draws the same again)"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        report.sections.append(("random seed", f"{VARIABLE}={seed()} draws the same again"))
    return report


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Import all modules without garbage collections, leave them out of those to come, and collect less often.

    Collections took a tenth of the time of tests of commands. What they find late is still an error: pytest collects at
    the end, too.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()  # also out of what forks have to copy
        gc.set_threshold(10_000, 20, 20)
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that share a fixture of `SHARED`, so that it is made in one process or two, not in each.

    If `FDA_TEST_ORDER` is set, shuffle files instead, and the tests in each: no test may need what ran before it.
    """
    by_name: dict[str, list[pytest.Item]] = {}
    for item in items:
        by_name.setdefault(item.nodeid.split("::")[0], []).append(item)
    files = list(by_name.values())
    if ORDER in os.environ:
        rng = random.Random(os.environ[ORDER])
        rng.shuffle(files)
        for tests in files:
            rng.shuffle(tests)
    else:
        files.sort(key=_first_shared)
    items[:] = [item for tests in files for item in tests]


def _first_shared(tests: list[pytest.Item]) -> int:
    used = {name for item in tests for name in getattr(item, "fixturenames", ())}
    return next((number for number, name in enumerate(SHARED) if name in used), len(SHARED))
