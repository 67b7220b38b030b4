"""What runs the tasks of a plan, and the plain loop that defines it."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from typing import Protocol, TypeVar

from pipeline.run.events import Tell

Task = TypeVar("Task")


Report = TypeVar("Report")


class Executor(Protocol):
    """Calls a function on each task, and yields each report as it comes."""

    def __call__(
        self, function: Callable[[Task, Tell], Report], tasks: Iterable[Task], tell: Tell
    ) -> Generator[Report]:
        """Run all tasks. The first error ends the run: what is committed by then stands.

        Args:
            function: Makes the report of a task, and tells of each item that is done.
            tasks: Drawn as they are needed.
            tell: Is told of the items in this thread, soon after they are done. An item of a task that is begun again
                is told of once.
        """


def run_synchronously(function: Callable[[Task, Tell], Report], tasks: Iterable[Task], tell: Tell) -> Generator[Report]:
    """Run the tasks one after the other in this process."""
    for task in tasks:
        yield function(task, tell)
