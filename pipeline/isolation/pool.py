"""The decoder processes that this process has started, and how many of them each `decode` call may use."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Collection
from contextlib import suppress
from threading import Lock, get_ident

from pipeline.isolation.process import DecoderProcess, DecoderStartError, cannot_start

_logger = logging.getLogger(__name__)


class DecoderPool:
    """Processes of one kind. They are kept from shard to shard: to start one takes a quarter of a second.

    Each call has a `Share` of them. One process is its due. It takes more while fewer are in use than may be, and gives
    one back at the end of a file when another call has none. So no more are in use than may be, unless there are more
    calls at a time: then each has one.
    """

    def __init__(self, start: Callable[[], DecoderProcess]) -> None:
        """`start` starts a process."""
        self.start = start
        self.lock = Lock()
        """Of the lists here, and of all shares."""
        self.idle: dict[DecoderProcess, int] = {}
        """The thread that used each; those kept last come last."""
        self.shares: list[Share] = []

    def close(self) -> None:
        """End the idle processes."""
        while (process := self.idle_one()) is not None:
            process.close()

    def kill(self, threads: Collection[int]) -> None:
        """Kill what some threads use; they see that. One that waits for its first process waits no longer."""
        with self.lock:
            for share in self.shares:
                if share.user in threads:
                    share.end()

    def idle_one(self, thread: int | None = None) -> DecoderProcess | None:
        """A process that is idle, or has died since; None if there is none.

        The one that a thread used last, if there is one: it has the scan of a large file, of which there may be more.
        """
        with self.lock:
            if not self.idle:
                return None
            latest = list(reversed(self.idle))
            chosen = next((one for one in latest if self.idle[one] == thread), latest[0])
            del self.idle[chosen]
            return chosen


class Share:
    """The processes of one `decode` call, which runs in one thread at a time."""

    def __init__(self, pool: DecoderPool, limit: int) -> None:
        """Nothing at first. It must be closed.

        Args:
            pool: Of all calls.
            limit: How many processes may be in use, of all calls together.

        Raises:
            DecoderStartError: No more files may be open.
        """
        self._pool, self._limit = pool, limit
        self.user = get_ident()
        """The thread that makes the call."""
        self._processes: set[DecoderProcess] = set()
        self._num_held = 0
        """Processes, with one that is being started."""
        self._is_waiting = self._is_ended = False
        try:
            self._bell, self._rope = socket.socketpair()
        except OSError as error:
            raise cannot_start(error) from error
        self._bell.setblocking(False)
        self._rope.setblocking(False)
        with pool.lock:
            pool.shares.append(self)

    @property
    def bell(self) -> socket.socket:
        """Readable when it is time to `take` again."""
        return self._bell

    def take(self) -> DecoderProcess | None:
        """One more process, idle or new; None if this call may have none now."""
        with suppress(BlockingIOError):
            self._bell.recv(1 << 12)  # before the look: what changes after it rings again
        with self._pool.lock:
            may_have = self._may_have_more()
            self._is_waiting = not may_have and self._num_held == 0
            if not may_have:
                return None
            self._num_held += 1
        # Its place is counted already, so that no other call takes it while this one starts a process without the lock.
        while (process := self._pool.idle_one(self.user)) is not None:
            if process.is_idle:
                return self._held(process)
            process.close()
        return self._one_more()

    def _one_more(self) -> DecoderProcess | None:
        """A new process; None if the system starts none, and this call has others."""
        try:
            return self._started()
        except DecoderStartError as error:
            if not self._processes:
                raise
            self._limit = 0  # asked again, the system would refuse again
            _logger.warning("a shard is decoded by %d processes: %s", len(self._processes), error)
            return None

    def replace(self, lost: DecoderProcess) -> DecoderProcess:
        """A new process, which has decoded nothing yet, in place of one that has ended."""
        with self._pool.lock:
            self._processes.remove(lost)  # not `_hold_one_less`: its place stays with this call
        return self._started()

    def give_back(self, process: DecoderProcess) -> None:
        """Keep a process for other calls if it is idle; end it if it is still decoding."""
        # Outside the lock: to end a process, its death is waited for, and no other call should wait for that.
        is_idle = process.is_idle
        if not is_idle:
            process.close()
        with self._pool.lock:
            self._processes.remove(process)
            if is_idle:
                self._pool.idle[process] = self.user
            self._hold_one_less()

    def must_give(self) -> bool:
        """Whether one of several processes here is the due of another call, which has none."""
        with self._pool.lock:
            return self._num_held > 1 and any(one._is_waiting for one in self._others())

    def end(self) -> None:
        """Kill what there is, or end the wait for the first. Called with the lock."""
        for process in self._processes:
            process.kill()
        self._is_ended = self._is_waiting  # a call that has processes sees their deaths instead
        self._ring()

    def is_ended(self) -> bool:
        """Whether the wait for the first process was ended since this was asked before."""
        with self._pool.lock:
            is_ended, self._is_ended = self._is_ended, False
            return is_ended

    def close(self) -> None:
        """Give all back; what is still decoding is ended."""
        for process in list(self._processes):
            self.give_back(process)
        with self._pool.lock:
            # Not in the list any more: nobody rings the bell that is closed below.
            self._pool.shares.remove(self)
            for other in self._others():
                other._ring()
        self._bell.close()
        self._rope.close()

    def _started(self) -> DecoderProcess:
        try:
            return self._held(self._pool.start())
        except BaseException:
            with self._pool.lock:
                self._hold_one_less()
            raise

    def _held(self, process: DecoderProcess) -> DecoderProcess:
        with self._pool.lock:
            self._processes.add(process)
        return process

    def _hold_one_less(self) -> None:
        self._num_held -= 1
        for other in self._others():
            other._ring()

    def _others(self) -> list[Share]:
        return [one for one in self._pool.shares if one is not self]

    def _may_have_more(self) -> bool:
        others = self._others()
        num_free = self._limit - self._num_held - sum(one._num_held for one in others)
        if self._num_held:
            return num_free > sum(one._is_waiting for one in others)
        # What another call of this thread has is not given back while the thread waits here.
        return num_free > 0 or not any(one._num_held > 1 and one.user != self.user for one in others)

    def _ring(self) -> None:
        with suppress(BlockingIOError):  # it rings already
            self._rope.send(b"\0")
