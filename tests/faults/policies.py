"""What may become of a run: it is recorded, it is killed at one of its operations, or one of them fails."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from tests.faults.operations import SYNC, SYNC_FOLDER, WRITE, Operation


class Recorder:
    """Does everything, and keeps what was done."""

    def __init__(self) -> None:
        self.done: list[Operation] = []

    def __call__(self, operation: Operation, do: Callable[[], Any], do_half: Callable[[], None]) -> Any:
        """Do it; what fails did not happen."""
        result = do()
        self.done.append(operation)
        return result

    @property
    def points(self) -> list[Point]:
        """Where a kill leaves the files otherwise than a kill anywhere else: before each change, and in each write.

        After a change is before the next one; before and after a sync the files read the same.
        """
        points = []
        for number, operation in enumerate(_changes(self.done)):
            points.append(Point(number, is_half=False))
            if operation.kind == WRITE and len(operation.content) > 1:
                points.append(Point(number, is_half=True))
        return points

    @property
    def before_the_first_record(self) -> Point | None:
        """When all data of a shard have their names, and its commit record has not; None for a run without a record."""
        are_records = ["/commits/" in operation.target for operation in _changes(self.done)]
        return Point(are_records.index(True)) if any(are_records) else None


def _changes(operations: Iterable[Operation]) -> list[Operation]:
    return [operation for operation in operations if operation.kind not in (SYNC, SYNC_FOLDER)]


@dataclass(frozen=True, slots=True)
class Point:
    """A moment of a run."""

    number: int
    """Of an operation, syncs not counted."""
    is_half: bool = False
    """In the middle of it, and not before it."""

    def __str__(self) -> str:
        return f"{'half-way through' if self.is_half else 'before'} operation {self.number}"


class KillAt:
    """Kills this process, for real, at a point."""

    def __init__(self, point: Point) -> None:
        self._point = point
        self._seen = 0

    def __call__(self, operation: Operation, do: Callable[[], Any], do_half: Callable[[], None]) -> Any:
        """Do it, or be killed."""
        if operation.kind not in (SYNC, SYNC_FOLDER):
            if self._seen == self._point.number:
                if self._point.is_half:
                    do_half()
                os.kill(os.getpid(), signal.SIGKILL)
            self._seen += 1
        return do()


@dataclass(frozen=True, slots=True)
class Failure:
    """An operation that fails."""

    number: int
    """Of an operation, syncs counted: a disk may fail at these as well."""
    error: BaseException
    is_for_good: bool
    """Whether all others fail from then on, too: a disk that is full, and no hiccup."""
    is_half: bool = False
    """Whether half of what was to be written is."""

    def __str__(self) -> str:
        return (
            f"{self.error!r} {'from' if self.is_for_good else 'at'} operation {self.number} {'half-way' * self.is_half}"
        )


class FailAt:
    """Lets operations fail."""

    def __init__(self, failure: Failure) -> None:
        self.failure = failure
        self._seen = 0
        self.failed: Operation | None = None
        """The first that failed."""

    def __call__(self, operation: Operation, do: Callable[[], Any], do_half: Callable[[], None]) -> Any:
        """Do it, or raise."""
        number, self._seen = self._seen, self._seen + 1
        if number == self.failure.number or (self.failure.is_for_good and number > self.failure.number):
            self.failed = self.failed or operation
            if self.failure.is_half:
                do_half()
            raise self.failure.error
        return do()
