"""Start processes that leave the reaction to a signal to their parent."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

REQUESTS_TO_STOP = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
"""Left to the first process of a run, which ends those that it has started. Ctrl-C goes to all of them; a decoder that
ended first would look as if its video had crashed it."""


@contextmanager
def signals_blocked(*numbers: signal.Signals) -> Iterator[None]:
    """Block signals in the processes and threads that are started in the block: they inherit the mask for good.

    A terminal sends Ctrl-C to every process of a run at once, and a batch system its signals; one of them must react.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
