"""Reading and writing beside the work: the next things are read, and the last ones written, while one is at work."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Value = TypeVar("Value")
Result = TypeVar("Result")

READ_AHEAD = 2
"""Things that are read before they are asked for. Together with the one at work and the one that is written they are
what is held in memory."""
WRITER = "fda-behind"
"""How the name of a thread begins that writes."""


def read_ahead(read: Callable[[Item], Value], items: Iterable[Item], depth: int = READ_AHEAD) -> Generator[Value]:
    """Yield what `read` makes of each item, in order; a thread is up to `depth` of them ahead.

    An error of `read` is raised in its turn. Where the caller stops early, what is being read is waited for.
    """
    waiting = iter(items)
    ahead: deque[Future[Value]] = deque()
    with ThreadPoolExecutor(1, thread_name_prefix="fda-ahead") as pool:
        try:
            for item in waiting:
                ahead.append(pool.submit(read, item))
                # Submitted first, then yielded: while the caller works at one, `depth` more are read or wait.
                if len(ahead) > depth:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            for future in ahead:
                future.cancel()  # what has not begun; the pool waits for what has


def write_behind(write: Callable[[Value], Result], values: Iterable[Value]) -> Generator[Result]:
    """Yield what `write` makes of each value, in order; a thread writes one while the next is made.

    An error of `write` is raised before the next value but one is asked for. What was handed in is written, even where
    the making of values fails.
    """
    with ThreadPoolExecutor(1, thread_name_prefix=WRITER) as pool:
        last: Future[Result] | None = None
        for value in values:
            future = pool.submit(write, value)
            if last is not None:
                yield last.result()
            last = future
        if last is not None:
            yield last.result()
