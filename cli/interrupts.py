"""What ends a command from outside: Ctrl-C, a terminal that is closed, a batch system."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PATIENCE_SECONDS = 10.0
"""How long a run may take to end before another signal ends it at once."""


class _Interrupts:
    """The first signal becomes `KeyboardInterrupt`; further ones would only disturb what that ends.

    Unless it does not end: Python loses an exception that is raised where nothing can catch it, in a finaliser. What a
    run has started ends with it, however that happens.
    """

    def __init__(self, failed: int, sentence: Callable[[], str]) -> None:
        self.first_at: float | None = None
        self._failed = failed
        self._sentence = sentence

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.first_at is None:
            self.first_at = time.monotonic()
            # From inside the handler, which Python calls between two instructions of the main thread.
            raise KeyboardInterrupt
        if time.monotonic() - self.first_at > PATIENCE_SECONDS:
            self._end()

    def _end(self) -> NoReturn:
        told = f"\nfda: error: {self._sentence()}\n".encode(errors="backslashreplace")
        # Past Python's buffers, whose lock the interrupted code may hold.
        os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, told)
        os._exit(self._failed)


@contextmanager
def interruptible(failed: int, sentence: Callable[[], str]) -> Iterator[None]:
    """Turn the signals that ask for an end into one `KeyboardInterrupt` in the block, and ignore the rest of them.

    A signal that is ignored when the command starts stays so: `nohup` does that, and shells for jobs in the background.

    Args:
        failed: The exit code of a command that must be ended at once.
        sentence: Gives what such a command says.
    """
    if threading.current_thread() is not threading.main_thread():  # Python runs handlers in the main thread only
        yield
        return
    interrupts = _Interrupts(failed, sentence)
    before = {number: signal.getsignal(number) for number in SIGNALS}
    heeded = [number for number, handler in before.items() if handler is not signal.SIG_IGN]
    for number in heeded:
        signal.signal(number, interrupts)
    try:
        yield
    finally:
        if interrupts.first_at is None:
            for number in heeded:
                signal.signal(number, before[number])
        else:  # they stay while Python ends threads and the like, and after that it would restore the default: death
            atexit.register(_ignore, heeded)


def _ignore(numbers: list[signal.Signals]) -> None:
    for number in numbers:
        signal.signal(number, signal.SIG_IGN)
