"""Tasks in threads of this process: for work that waits for other processes most of its time, as for decoders."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterable, Iterator
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Event, Lock, Thread
from typing import Generic, TypeVar

from pipeline.isolation.signals import REQUESTS_TO_STOP, signals_blocked
from pipeline.run.events import ItemsDone, Tell

Task = TypeVar("Task")
Report = TypeVar("Report")

_SECONDS_TO_END = 0.1
"""How long threads may take to notice that what they waited for has ended, before it is ended again."""


@dataclass(frozen=True, slots=True)
class ThreadExecutor:
    """Runs as many tasks at a time as it has threads, all in this process: see `Executor`."""

    num_threads: int
    end_waiting: Callable[[Collection[int]], None]
    """Ends what the tasks of some threads wait for, given as `Thread.ident`. Called if a run ends before its tasks."""

    def __call__(
        self, function: Callable[[Task, Tell], Report], tasks: Iterable[Task], tell: Tell
    ) -> Generator[Report]:
        """See `pipeline.workers.executors.Executor`. Its threads have ended when it ends."""
        run = _Run(function, iter(tasks))
        threads = [Thread(target=run.work, name=f"fda-task-{i}", daemon=True) for i in range(self.num_threads)]
        num_working = len(threads)
        try:
            with signals_blocked(*REQUESTS_TO_STOP):  # for this thread, which reacts to them
                for thread in threads:
                    thread.start()
            while num_working:
                told = run.told.get()
                if isinstance(told, ItemsDone):
                    tell(told)
                elif isinstance(told, _Made):
                    yield told.report
                elif told is None:
                    num_working -= 1
                else:
                    raise told
        finally:
            # First, so that a thread whose wait is ended below draws no other task.
            run.has_ended.set()
            # Not where each has said that it ends: what it used is idle, and another run may have it now.
            while num_working and (alive := [thread for thread in threads if thread.is_alive()]):
                self.end_waiting({thread.ident for thread in alive if thread.ident is not None})
                for thread in alive:  # again and again: it may just have started something
                    thread.join(_SECONDS_TO_END)
            for thread in threads:
                if thread.ident is not None:  # else it did not start
                    thread.join()


class _RunEndedError(Exception):
    """Raised in a task whose run has ended, at the next item that it tells of."""


@dataclass(frozen=True, slots=True)
class _Made(Generic[Report]):
    """A task has ended."""

    report: Report


class _Run(Generic[Task, Report]):
    """What the threads of one run share."""

    def __init__(self, function: Callable[[Task, Tell], Report], tasks: Iterator[Task]) -> None:
        self._function, self._tasks, self._lock = function, tasks, Lock()
        self.has_ended = Event()
        self.told: SimpleQueue[ItemsDone | _Made[Report] | BaseException | None] = SimpleQueue()
        """What happens in the threads; None when one of them ends, an error when a task fails."""

    def work(self) -> None:
        """Run one task after the other, until there is none or the run has ended."""
        try:
            for task in self._drawn():
                self.told.put(_Made(self._function(task, self._tell)))
        except _RunEndedError:
            pass
        except BaseException as error:
            self.told.put(error)
        finally:
            # Last of all: the caller counts these, and takes nothing more from a thread that has sent one.
            self.told.put(None)

    def _drawn(self) -> Iterator[Task]:
        """The tasks of one thread: which they are depends on when it asks."""
        while not self.has_ended.is_set():
            with self._lock:
                try:
                    task = next(self._tasks)
                except StopIteration:
                    return
            yield task

    def _tell(self, items: ItemsDone) -> None:
        if self.has_ended.is_set():
            raise _RunEndedError
        self.told.put(items)
