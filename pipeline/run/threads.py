"""A task uses one core: how many workers a machine has is the only thing that decides its load."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import cv2


@contextmanager
def one_cv2_thread() -> Iterator[None]:
    """Let OpenCV use one thread, and restore its number at the end: the process may be the caller's own notebook."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)
