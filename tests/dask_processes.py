"""A Dask scheduler and workers as a user starts them: processes of their own, over TCP."""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from unittest import mock

from tests.forked import Forked
from tests.paths import ROOT


def lack_fda() -> None:
    """Be a worker in whose environment `fda` is not installed."""
    ours = ("pipeline", "store")
    for name in [name for name in sys.modules if name.split(".")[0] in ours]:
        del sys.modules[name]
    sys.modules.update(dict.fromkeys(ours))  # type: ignore[arg-type]  # None: it is not found


def have_another_av() -> None:
    """Be a worker in whose environment is another version of PyAV."""
    mock.patch("pipeline.run.software.version", lambda name: "1.2.3" if name == "av" else version(name)).start()


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 300, pause: float = 0.01) -> None:
    """Look again and again, with a pause of so many seconds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(pause)


def _read_whole(path: Path, found: dict[str, str]) -> bool:
    """Read a file that the scheduler writes bit by bit, once it is whole."""
    try:
        found["address"] = json.loads(path.read_text())["address"]
    except (FileNotFoundError, ValueError):
        return False
    return True


class DaskProcesses:
    """Each in a process group of its own, all killed at the end."""

    def __init__(self, folder: Path, *, allowed_failures: int = 3) -> None:
        """With so many deaths of its workers that a task survives, by default as many as Dask's own."""
        self._folder = folder
        self._environment = {
            "PYTHONPATH": str(ROOT),
            "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": str(allowed_failures),
        }
        self._started: list[Forked] = []
        place = ("--scheduler-file", str(folder / "scheduler"), "--host", "127.0.0.1", "--port", "0", "--no-dashboard")
        self.scheduler = self._forked("scheduler", place)
        found: dict[str, str] = {}
        wait_until(lambda: _read_whole(folder / "scheduler", found), "the scheduler does not start")
        self.address = found["address"]

    def worker(self, *options: str, changed: Callable[[], None] | None = None) -> Forked:
        """Start `dask worker`, in an environment that is changed first. It has no nanny: it is not replaced."""
        folder = ("--local-directory", str(self._folder))
        options = (self.address, "--nthreads", "1", *folder, "--no-dashboard", "--no-nanny", *options)
        return self._forked("worker", options, changed)

    @contextmanager
    def always_a_worker(self) -> Iterator[None]:
        """Start a worker, and another when it dies, as a nanny does; forked, for a nanny's take seconds to start."""
        is_over = threading.Event()

        def replace_it() -> None:
            while not is_over.is_set():
                worker = self.worker()
                while worker.poll() is None and not is_over.wait(0.01):
                    pass

        thread = threading.Thread(target=replace_it)
        thread.start()
        try:
            yield
        finally:
            is_over.set()
            thread.join()

    def end(self) -> None:
        for process in self._started:
            self.kill(process)

    @staticmethod
    def kill(process: Forked) -> None:
        """Kill it with all that it has started."""
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.kill()
        process.wait()

    def _forked(self, what: str, options: Sequence[str], changed: Callable[[], None] | None = None) -> Forked:
        log = self._folder / f"log{len(self._started)}"
        process = Forked(_be_dask, what, [*options], changed, err=log, environment=self._environment)
        self._started.append(process)
        return process


def _be_dask(what: str, options: list[str], changed: Callable[[], None] | None) -> None:
    """Be `dask scheduler` or `dask worker`."""
    sys.argv = [f"dask-{what}", *options]
    if changed is not None:
        changed()
    importlib.import_module(f"distributed.cli.dask_{what}").main()
