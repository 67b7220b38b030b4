"""Which workers a Dask scheduler has, and which of them can be used."""

from __future__ import annotations

import pickle
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.errors import PipelineError
from pipeline.workers.preflight import Preflight, UnfitWorkerError

if TYPE_CHECKING:
    from distributed import Client

SECONDS_BETWEEN_LOOKS = 1.0
"""A look at the workers asks the scheduler: too slow to do for every task."""

SECONDS_BEFORE_NOTICE = 10.0
"""How long there may be no worker before the user is told: a worker that died is replaced within seconds."""


@dataclass(frozen=True, slots=True)
class Patience:
    """What happens while there is no worker."""

    seconds: float | None
    """How long to wait; None: without a limit."""
    remedy: str = "start some with `dask worker`"
    """What the user is told to do, or what must be known for it."""


class SchedulerError(PipelineError, RuntimeError):
    """A Dask scheduler does not answer, has ended, or cannot be used."""


class NoWorkersError(PipelineError, RuntimeError):
    """There is no worker that can be used."""


class WorkerWatch:
    """Looks at the workers now and then, and excludes those that lack something.

    The workers that are there before the run are checked all at once. One that joins later is checked by its first
    task: see `pipeline.workers.worker_side`.
    """

    def __init__(
        self,
        client: Client,
        preflight: Preflight | None,
        patience: Patience,
        say: Callable[[str], None],
        refill: Callable[[], object],
    ) -> None:
        """Look at the workers of `client`.

        Args:
            client: Of the scheduler.
            preflight: What a worker must have; None: every worker can be used.
            patience: How long to wait while there is no worker.
            say: Gets a sentence about workers that lack something or are missing.
            refill: Called at each look, to replace workers that have ended for good.
        """
        self._client, self._preflight, self._patience, self._say = client, preflight, patience, say
        self._refill = refill
        self._present: frozenset[str] = frozenset()
        self._unfit: dict[str, UnfitWorkerError] = {}
        """Address -> why a worker is excluded, including those that have left."""
        # So that the first look is one: the clock may be near 0 on a machine that has just started.
        self._looked_at = -SECONDS_BETWEEN_LOOKS
        self._seen_at = time.monotonic()
        self._is_silent = True
        """Whether the user has not been told yet that there is no worker."""

    @property
    def fit(self) -> frozenset[str]:
        """Addresses of the workers that were there at the last look and can be used."""
        return self._present - self._unfit.keys()

    @property
    def restriction(self) -> frozenset[str] | None:
        """The workers that a task is bound to, or None if all can be used.

        None while possible: Dask may then move a task from a busy worker to one that has just joined.
        """
        return self.fit if self._present & self._unfit.keys() else None

    def look(self, *, at_once: bool = False) -> None:
        """Ask which workers there are, unless this was asked less than `SECONDS_BETWEEN_LOOKS` ago.

        Raises:
            SchedulerError: The scheduler does not answer.
            NoWorkersError: There has been no worker for as long as `patience` allows.
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
        # Before the count below: a worker of this machine that has just ended is replaced, and not missed.
        self._refill()
        if self.fit:
            # There is one: the next gap is told again, and its time begins there.
            self._seen_at, self._is_silent = now, True
        else:
            self._miss(now - self._seen_at)

    def say_threads(self) -> None:
        """Report workers of several threads: they use one core, not what their owner expects."""
        num = max(self._client.nthreads().values(), default=1)
        if num > 1:
            self._say(
                f"some workers have {num} threads, and fda uses one of them: start them with "
                "`dask worker --nthreads 1`, and --nworkers with the number of cores"
            )

    def wait(self) -> None:
        """Wait until there is a worker that can be used, and check all that are there.

        Raises:
            SchedulerError: The scheduler lacks the software, or does not answer.
            NoWorkersError: No worker has come in the time of `patience`, or none of those there can be used.
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
                    f"no worker can be used; the first of {len(self._unfit):,}: {next(iter(self._unfit.values()))}"
                )
            if self._is_silent:
                self._say_waiting()
            # Here nothing else waits: the run has not begun.
            time.sleep(0.2)

    def check_all(self) -> bool:
        """Check all workers that are there, and exclude those that lack something; whether one was excluded now."""
        candidates = sorted(self.fit)
        if self._preflight is None or not candidates:
            return False
        # Versions first: the function below is sent as code, which another Python could not run.
        versions = self._client.get_versions(check=False)["workers"]
        unfit: list[UnfitWorkerError] = []
        others = []
        for address in candidates:
            problem = _python_problem(versions.get(address))
            if problem is None:
                others.append(address)
            else:
                unfit.append(UnfitWorkerError(address, address, problem))
        # As bytes: a worker without `fda` can take them, and say that it cannot read them.
        answers = self._client.run(_look_function(), pickle.dumps(self._preflight), workers=others) if others else {}
        for address, (host, problem) in answers.items():
            if problem is not None:
                unfit.append(UnfitWorkerError(address, host, problem))
        for error in unfit:
            self.exclude(error)
        return bool(unfit)

    def exclude(self, error: UnfitWorkerError) -> None:
        """Exclude a worker, and report why."""
        if error.address not in self._unfit:
            self._unfit[error.address] = error
            self._say(str(error))

    def _miss(self, seconds: float) -> None:
        limit, remedy = self._patience.seconds, self._patience.remedy
        if limit is not None and seconds >= limit:
            unfit = f"; {next(iter(self._unfit.values()))}" if self._unfit else ""
            raise NoWorkersError(
                f"no worker at {scheduler_address(self._client)} for {limit:g} s (--worker-timeout): {remedy}. Run "
                f"the same command again: what is committed is kept{unfit}"
            )
        if self._is_silent and seconds >= SECONDS_BEFORE_NOTICE:
            self._say_waiting(f": {remedy}")

    def _say_waiting(self, remedy: str = "") -> None:
        """Once until there is a worker again."""
        self._is_silent = False
        limit = "" if self._patience.seconds is None else f", for {self._patience.seconds:g} s"
        self._say(f"waiting for workers at {scheduler_address(self._client)}{limit}{remedy}")

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
    """The address of a client's scheduler."""
    return str(client.scheduler.address) if client.scheduler is not None else "an unknown address"


def lost_scheduler(client: Client) -> SchedulerError:
    """The error of a run whose scheduler has ended or cannot be reached any more."""
    return SchedulerError(
        f"lost the Dask scheduler at {scheduler_address(client)}: it has ended, or the network failed. What is "
        "committed is kept: start a scheduler and workers, and run the same command again"
    )


def _python_problem(versions: dict[str, dict[str, object]] | None) -> str | None:
    if versions is None:  # the worker has just left
        return None
    theirs = ".".join(str(versions["host"]["python"]).split(".")[:3])
    mine = platform.python_version()
    return None if theirs == mine else f"it runs Python {theirs}, not {mine}: install the same environment there"


def _look_function() -> Callable[[bytes], tuple[str, str | None]]:
    """The function that each worker runs.

    An inner function, because it is then sent as code: a worker without `fda` could not import it.
    """

    def look(pickled: bytes) -> tuple[str, str | None]:
        import pickle
        import socket

        # Of the machine: that is what its owner knows, and not the port of a worker.
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
