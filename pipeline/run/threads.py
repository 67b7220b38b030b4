"""A task uses one core: how many workers a machine has is the only thing that decides its load."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

import cv2


class _Limit:
    """How many blocks of `one_cv2_thread` run in the threads of this process, and the number from before the first."""

    def __init__(self) -> None:
        self._lock, self._num_inside, self._before = Lock(), 0, 0

    def enter(self) -> None:
        with self._lock:
            if self._num_inside == 0:
                self._before = cv2.getNumThreads()
                cv2.setNumThreads(1)
            self._num_inside += 1

    def leave(self) -> None:
        with self._lock:
            self._num_inside -= 1
            if self._num_inside == 0:
                cv2.setNumThreads(self._before)


_limit = _Limit()


@contextmanager
def one_cv2_thread() -> Iterator[None]:
    """Let OpenCV use one thread, and restore its number at the end: the process may be the caller's own notebook.

    OpenCV has one number for all threads of a process, so it is restored when the last block ends.
    """
    _limit.enter()
    try:
        yield
    finally:
        _limit.leave()
