"""Processes forked from one that has imported everything: a new interpreter takes seconds to import torch and Dask.

A real process all the same: with a process group of its own, killed and waited for like any other. It begins in the
state of a new interpreter that has only imported modules, as the fork server of `multiprocessing` runs nothing else.
Tests of what a shell sees (`fda_in_a_process`) start a new interpreter.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from multiprocessing import connection
from multiprocessing.connection import Connection
from multiprocessing.reduction import DupFd
from pathlib import Path
from subprocess import TimeoutExpired
from threading import Lock
from typing import Any

import dask
import pytest

from cli import interrupts
from cli.main import main
from pipeline.isolation.signals import REQUESTS_TO_STOP
from pipeline.run.resources import ONE_THREAD
from pipeline.workers import place, worker_watch
from pipeline.workers.local_worker import be_worker
from pipeline.workers.place import MAX_THREADS
from pipeline.workers.worker_watch import SECONDS_BEFORE_NOTICE

FORK_SERVER = multiprocessing.get_context("forkserver")
FORK_SERVER.set_forkserver_preload(["tests.preloaded"])
_LOCK = Lock()
"""Of what `multiprocessing` knows of all its processes: each start looks how all others have ended."""


class Forked:
    """A process that calls one function; what tests use of it is named as in `subprocess.Popen`."""

    def __init__(
        self,
        function: Callable[..., object],
        *arguments: object,
        out: Path | None = None,
        err: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Start it in this environment; what it prints goes into files, if any are given, and is lost otherwise.

        It leads its process group from the start, so that the group can be killed at any moment.
        """
        self._out, self._err = out, err
        outputs = [str(path or os.devnull) for path in (out, err)]
        given = {**os.environ, **(environment or {})}
        self._process = FORK_SERVER.Process(target=_be, args=(given, outputs, function, *arguments))
        with _LOCK:
            self._process.start()
        with suppress(ProcessLookupError):  # it has ended
            while self.poll() is None and os.getpgid(self.pid) != self.pid:
                time.sleep(0.001)

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        return self.poll()

    def poll(self) -> int | None:
        with _LOCK:
            return None if self._process.is_alive() else self._process.exitcode  # once ended, its files are closed

    def wait(self, timeout: float | None = None) -> int:
        connection.wait([self._process.sentinel], timeout)
        if (code := self.poll()) is None:
            raise TimeoutExpired("a forked process", timeout or 0)
        return code

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Wait for its end; what it printed."""
        self.wait(timeout)
        out, err = ("" if path is None else path.read_text(encoding="utf-8") for path in (self._out, self._err))
        return out, err

    def send_signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it, and not what it has started."""
        with _LOCK:
            self._process.kill()
        self.wait()


def forked_worker(address: str, lifeline: Connection, started: Connection) -> Forked:
    """For `local_workers.start_worker`: workers that a test starts in its own process are forked, too."""
    return Forked(be_worker, address, lifeline, started, environment=ONE_THREAD)


def forked_fda(
    folder: Path,
    *arguments: str | Path,
    max_threads: int = MAX_THREADS,
    notice_seconds: float = SECONDS_BEFORE_NOTICE,
) -> Forked:
    """`fda ...`; what it prints goes into a folder.

    More workers than `max_threads` are processes. After `notice_seconds` without a worker it says so.
    """
    number = sum(1 for _ in folder.glob("fda.*.err"))
    out, err = (folder / f"fda.{number}.{kind}" for kind in ("out", "err"))
    err.touch()
    words = [str(argument) for argument in arguments]
    environment = {"COLUMNS": "120", "OMP_NUM_THREADS": "1"}
    return Forked(_be_fda, words, max_threads, notice_seconds, out=out, err=err, environment=environment)


class _Inherited:
    """An open file for a process that is being started, in which it becomes the number that it has there."""

    def __init__(self, number: int) -> None:
        self._number = number

    def __reduce__(self) -> tuple[Callable[..., int], tuple[object]]:
        return _taken_over, (DupFd(self._number),)


def _taken_over(given: Any) -> int:
    number: int = given.detach()
    return number


def forked_child(
    module: str, arguments: Sequence[str], inherited: Sequence[int], environment: Mapping[str, str] | None = None
) -> Forked:
    """For `children.start_child`: programs whose only arguments are what they inherit. What they print is lost."""
    assert [*arguments] == [str(number) for number in inherited]
    return Forked(_be_child, module, [_Inherited(number) for number in inherited], environment=environment)


@pytest.fixture
def forked_decoders(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoder processes that this process starts are forked: a new interpreter takes a tenth of a second to begin."""
    monkeypatch.setattr("pipeline.isolation.process.start_child", forked_child)


def in_environment(environment: Mapping[str, str], function: Callable[..., object], *arguments: object) -> None:
    """Call a function in another environment than that in which the fork server was started."""
    before = _of_dask(os.environ)
    os.environ.clear()
    os.environ.update(environment)
    if _of_dask(environment) != before:
        dask.config.refresh()  # which reads files: as long as to fork
    function(*arguments)


def _of_dask(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith("DASK_")}


def _be(environment: Mapping[str, str], outputs: list[str], function: Callable[..., object], *arguments: Any) -> None:
    os.setsid()
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # the fork server keeps the mask of the moment when it was started
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it, and so do children
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # likewise under `nohup`
    for number, path in enumerate(outputs, start=1):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, number)
        os.close(file)
    in_environment(environment, function, *arguments)


def _be_child(module: str, inherited: list[int]) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, REQUESTS_TO_STOP)
    sys.argv = [module, *map(str, inherited)]
    import_module(module).main()


def _be_fda(words: list[str], max_threads: int, notice_seconds: float) -> None:
    place.MAX_THREADS = max_threads
    worker_watch.SECONDS_BEFORE_NOTICE = notice_seconds
    interrupts.PATIENCE_SECONDS = math.inf  # a busy machine takes long to end it, and tests signal until it has ended
    sys.argv = ["fda", *words]
    main()
