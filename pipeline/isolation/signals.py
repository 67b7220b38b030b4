"""Starting processes that leave it to their parent to heed a request to stop."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def signals_blocked(*numbers: signal.Signals) -> Iterator[None]:
    """Let processes and threads that are started in the block ignore signals for good: they inherit the mask.

    A terminal or a batch system sends Ctrl-C and its like to every process of a run at once.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
