"""Run probes in child processes, side by side, and outlive whatever happens to them."""

from __future__ import annotations

import selectors
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from multiprocessing.connection import Pipe
from subprocess import TimeoutExpired

from pipeline.doctor.checks import Check
from pipeline.doctor.probes import Probe, Request
from pipeline.isolation.children import start_child
from pipeline.isolation.messages import connected_pair, receive, send
from pipeline.run.events import ItemsDone, Tell

_MESSAGE_SECONDS = 10.0
"""How long a row may take to arrive, once its first byte is there; and a process to end, once it is silent."""
_END_SECONDS = 10.0
"""How long a process may take to end that was killed."""


class _Lane:
    """A child process and the probes that it has not ended."""

    def __init__(self, probes: Sequence[Probe], place: str | None) -> None:
        self._probes, self._place = list(probes), place
        self._start()

    @property
    def deadline(self) -> float:
        return self._began + self._probes[0].limit_seconds

    def fileno(self) -> int:
        return self.connection.fileno()

    def next_rows(self) -> tuple[Check, ...]:
        """What the child has sent, or what became of it."""
        try:
            message = receive(self.connection, _MESSAGE_SECONDS)
        except TimeoutError:  # an OSError too
            return self._without_first(f"its answer stopped in the middle for {_MESSAGE_SECONDS:g} s: given up")
        except (EOFError, OSError):
            return self._ended()
        if isinstance(message, Check):
            return (message,)
        # None: the first probe has ended, and the time of the next one begins.
        self._probes.pop(0)
        self._began = time.monotonic()
        return ()

    def hung(self) -> tuple[Check, ...]:
        """Give the probe in progress up."""
        probe = self._probes[0]
        return self._without_first(f"no answer within {probe.limit_seconds:g} s: given up")

    @property
    def num_left(self) -> int:
        """Probes that have not ended."""
        return len(self._probes)

    def close(self) -> None:
        """Kill the child and wait for its end. It has nothing to save."""
        self._process.kill()
        with suppress(TimeoutExpired):  # it is stuck in a driver, where no signal reaches it
            self._process.wait(_END_SECONDS)
        self.connection.close()
        self._lifeline.close()

    def _start(self) -> None:
        self.connection, theirs = connected_pair()
        their_lifeline, self._lifeline = Pipe(duplex=False)
        inherited = [theirs.fileno(), their_lifeline.fileno()]
        with theirs, their_lifeline:
            self._process = start_child("pipeline.doctor.child", [*map(str, inherited)], inherited)
        self._began = time.monotonic()
        with suppress(OSError):  # it has ended at once: reading from it tells
            send(self.connection, Request(tuple(self._probes), self._place))

    def _ended(self) -> tuple[Check, ...]:
        try:
            code = self._process.wait(_MESSAGE_SECONDS)
        except TimeoutExpired:
            return self._without_first("its process said nothing more, and did not end: given up")
        name = {known.value: known.name for known in signal.Signals}.get(-code, f"signal {-code}")
        return self._without_first(f"its process died of {name}" if code < 0 else f"its process ended with code {code}")

    def _without_first(self, why: str) -> tuple[Check, ...]:
        self.close()
        probe = self._probes.pop(0)
        if self._probes:
            self._start()
        return (probe.failed(why),)


def checks_in_children(lanes: Sequence[Sequence[Probe]], place: str | None, tell: Tell) -> Iterator[Check]:
    """The rows of all probes, as they come; tells of each probe that has ended."""
    running: list[_Lane] = []
    try:
        running += [_Lane(probes, place) for probes in lanes]
        while waiting := [lane for lane in running if lane.num_left]:
            with selectors.DefaultSelector() as selector:
                for lane in waiting:
                    selector.register(lane.connection, selectors.EVENT_READ, lane)
                # Until the first probe hangs, or a child says something.
                timeout = min(lane.deadline for lane in waiting) - time.monotonic()
                ready = [key.data for key, _ in selector.select(max(0.0, timeout))]
            now = time.monotonic()
            for lane in waiting:
                num_before = lane.num_left
                if lane in ready:
                    yield from lane.next_rows()
                elif now >= lane.deadline:
                    yield from lane.hung()
                tell(ItemsDone(num_before - lane.num_left))
    finally:
        for lane in running:
            lane.close()
