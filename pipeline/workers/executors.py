"""What an executor is, and the plain loop that every executor must agree with."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from typing import Protocol, TypeVar

from pipeline.run.events import Tell

Task = TypeVar("Task")


Report = TypeVar("Report")


class Executor(Protocol):
    """Calls a function on each task, and yields the reports as tasks end, in any order."""

    def __call__(
        self, function: Callable[[Task, Tell], Report], tasks: Iterable[Task], tell: Tell
    ) -> Generator[Report]:
        """Run all tasks. The first error ends the run; what was committed before is kept.

        Args:
            function: Runs one task, reports each item that is done, and returns the task's report.
            tasks: Drawn as they are needed.
            tell: Called in this thread, soon after items are done. An item of a task that is started again is reported
                once.
        """


def run_synchronously(function: Callable[[Task, Tell], Report], tasks: Iterable[Task], tell: Tell) -> Generator[Report]:
    """Run the tasks one after the other in this process."""
    for task in tasks:
        yield function(task, tell)
