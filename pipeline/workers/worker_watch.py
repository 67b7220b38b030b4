"""Which workers of a Dask scheduler are there, and which of them may take part."""

from __future__ import annotations

import pickle
import platform
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from pipeline.errors import PipelineError
from pipeline.workers.preflight import Preflight, UnfitWorkerError

if TYPE_CHECKING:
    from distributed import Client

SECONDS_BETWEEN_LOOKS = 1.0
"""A look at the workers is a question to the scheduler, so it is not asked for every task."""

SECONDS_BEFORE_A_WORD = 10.0
"""For so long may there be no worker before the user is told: one that died is replaced within seconds."""


class SchedulerError(PipelineError, RuntimeError):
    """A Dask scheduler is not there, is there no more, or cannot do the work."""


class NoWorkersError(PipelineError, RuntimeError):
    """There is no worker that may take part."""


class WorkerWatch:
    """Looks at the workers now and then, and keeps those out that lack something.

    A worker is looked at as a whole before the run, and by its first task in any case: it may have joined since.
    """

    def __init__(
        self,
        client: Client,
        preflight: Preflight | None,
        wait_seconds: float | None,
        say: Callable[[str], None],
        refill: Callable[[], object],
    ) -> None:
        """Without a preflight, every worker may take part; without a limit, workers are waited for for ever."""
        self._client, self._preflight, self._wait_seconds, self._say = client, preflight, wait_seconds, say
        self._refill = refill
        self._present: frozenset[str] = frozenset()
        self._unfit: dict[str, UnfitWorkerError] = {}
        """By address, those that have left included."""
        self._looked_at = -SECONDS_BETWEEN_LOOKS
        self._seen_at = time.monotonic()
        self._is_silent = self._knows_threads = True

    @property
    def fit(self) -> frozenset[str]:
        """Addresses of the workers that were there at the last look, and may take part."""
        return self._present - self._unfit.keys()

    @property
    def restriction(self) -> frozenset[str] | None:
        """The workers to which a task is to be bound, or None where all may take part."""
        return self.fit if self._present & self._unfit.keys() else None

    def look(self, *, at_once: bool = False) -> None:
        """Ask which workers are there, unless that was asked a moment ago.

        Raises:
            SchedulerError: Nobody answers.
            NoWorkersError: There has been none for as long as they are waited for.
        """
        now = time.monotonic()
        if not at_once and now - self._looked_at < SECONDS_BETWEEN_LOOKS:
            return
        try:
            threads = self._client.nthreads()
        except OSError as error:
            raise lost_scheduler(self._client) from error
        self._looked_at = now
        self._present = frozenset(threads)
        self._refill()
        if self.fit:
            self._seen_at, self._is_silent = now, True
        else:
            self._miss(now - self._seen_at)

    def say_threads(self) -> None:
        """Tell of workers of several threads, of which one is used."""
        num = max(self._client.nthreads().values(), default=1)
        if num > 1:
            self._say(
                f"some workers have {num} threads, of which one is used: start them with `dask worker --nthreads 1`, "
                "and --nworkers with the number of cores"
            )

    def wait(self) -> None:
        """Wait until a worker is there that may take part, having looked at all that are there.

        Raises:
            SchedulerError: The scheduler lacks the software, or does not answer.
            NoWorkersError: None has come for as long as they are waited for, or none of those there may take part.
        """
        self._check_scheduler()
        self._seen_at = time.monotonic()
        while True:
            self.look(at_once=True)
            self.check_all()
            if self.fit:
                return
            if self._present:
                raise NoWorkersError(
                    "no worker can take part; the first of "
                    f"{len(self._unfit):,} says: {next(iter(self._unfit.values()))}"
                )
            if self._is_silent:
                self._tell_of_none()
            time.sleep(0.2)

    def check_all(self) -> bool:
        """Look at all workers that are there, and keep those out that lack something; whether there are new ones."""
        candidates = sorted(self.fit)
        if self._preflight is None or not candidates:
            return False
        versions = self._client.get_versions(check=False)["workers"]
        found: list[UnfitWorkerError] = []
        others = []
        for address in candidates:
            problem = _python_problem(versions.get(address))
            if problem is None:
                others.append(address)
            else:
                found.append(UnfitWorkerError(address, address, problem))
        answers = self._client.run(_look_function(), pickle.dumps(self._preflight), workers=others) if others else {}
        for address, (host, problem) in answers.items():
            if problem is not None:
                found.append(UnfitWorkerError(address, host, problem))
        for error in found:
            self.exclude(error)
        return bool(found)

    def exclude(self, error: UnfitWorkerError) -> None:
        """Keep a worker out, and tell why."""
        if error.address not in self._unfit:
            self._unfit[error.address] = error
            self._say(str(error))

    def _miss(self, seconds: float) -> None:
        if self._wait_seconds is not None and seconds >= self._wait_seconds:
            unfit = f"; {next(iter(self._unfit.values()))}" if self._unfit else ""
            raise NoWorkersError(
                f"no worker at {scheduler_address(self._client)} for {self._wait_seconds:g} s (--worker-timeout): "
                f"start some with `dask worker`, and run the same command again. What is committed stands{unfit}"
            )
        if self._is_silent and seconds >= SECONDS_BEFORE_A_WORD:
            self._tell_of_none()

    def _tell_of_none(self) -> None:
        self._is_silent = False
        limit = "" if self._wait_seconds is None else f", for {self._wait_seconds:g} s"
        self._say(f"waiting for workers at {scheduler_address(self._client)}{limit}")

    def _check_scheduler(self) -> None:
        if self._preflight is None:
            return
        versions = self._client.get_versions(check=False)["scheduler"]
        problem = _python_problem(versions)
        if problem is None:
            _, problem = self._client.run_on_scheduler(_has_package_function())
        if problem is not None:
            raise SchedulerError(f"the scheduler at {scheduler_address(self._client)} cannot be used: {problem}")


def scheduler_address(client: Client) -> str:
    """Where the scheduler of a client is."""
    return str(client.scheduler.address) if client.scheduler is not None else "an unknown address"


def lost_scheduler(client: Client) -> SchedulerError:
    """The error of a run whose scheduler is gone."""
    return SchedulerError(
        f"lost the Dask scheduler at {scheduler_address(client)}: it has ended, or the network failed. What is "
        "committed stands: once a scheduler and its workers are there, run the same command again"
    )


def _python_problem(versions: dict[str, dict[str, object]] | None) -> str | None:
    if versions is None:  # it has just left
        return None
    theirs = ".".join(str(versions["host"]["python"]).split(".")[:3])
    mine = platform.python_version()
    return None if theirs == mine else f"it runs Python {theirs}, not {mine}: install the same environment there"


def _look_function() -> Callable[[bytes], tuple[str, str | None]]:
    """What a worker is asked. As an inner function it travels as code: a worker without `fda` could find no other."""

    def look(pickled: bytes) -> tuple[str, str | None]:
        import pickle
        import socket

        host = socket.gethostname()
        try:
            problem: str | None = pickle.loads(pickled).problem()
        except ModuleNotFoundError as error:
            return host, f"it cannot import {error.name!r}: install the same environment there, with fda in it"
        except (ImportError, AttributeError, TypeError) as error:
            return host, f"it has another fda ({error}): install the same environment there"
        return host, problem

    return look


def _has_package_function() -> Callable[[], tuple[str, str | None]]:
    def look() -> tuple[str, str | None]:
        import importlib.util

        missing = next((name for name in ("pipeline", "store") if importlib.util.find_spec(name) is None), None)
        problem = f"it cannot import {missing!r}: start it in the same environment, with fda in it"
        return "", None if missing is None else problem

    return look
