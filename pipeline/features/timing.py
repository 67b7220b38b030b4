"""How much faster one way to compute is than another, on a machine that does other work meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median

Work = Callable[[], object]
Clock = Callable[[], float]

LEAST_SECONDS = 0.03
"""Of a round. Work that is shorter is repeated: a call of a tiny model is over before a thread is woken."""

LEAST_ROUNDS, MOST_ROUNDS = 3, 11
"""Of each."""

AGREEMENT = 1.05
"""The largest ratio of a pair by the smallest: where pairs differ by no more, others would say the same."""

CLEARLY = 1.25
"""Times a limit, or a part of it: where all pairs are beyond, others would not change what is decided by it."""

ENOUGH_SECONDS = 1.0
"""After which no round begins that is above the least number."""


def speedup_of(one: Work, other: Work, clock: Clock, limit: float) -> float:
    """How many times as fast `one` is as `other`: the median over pairs of rounds, one of each, in turns.

    What slows the machine for a while slows both rounds of a pair, or makes one pair an outlier.

    Args:
        one: Computes something; it has been called before, so that nothing is made ready in the first call.
        other: Computes the same in another way; likewise.
        clock: Seconds; of the processor time of this process, or of a clock.
        limit: Of the speedup: what matters is whether it is below or above.
    """
    began, times = clock(), 1
    while min(_seconds(one, times, clock), _seconds(other, times, clock)) < LEAST_SECONDS:
        times *= 2
    ratios: list[float] = []
    while len(ratios) < LEAST_ROUNDS or (
        max(ratios) > AGREEMENT * min(ratios)
        and limit / CLEARLY < max(ratios)
        and min(ratios) < limit * CLEARLY
        and len(ratios) < MOST_ROUNDS
        and clock() - began < ENOUGH_SECONDS
    ):
        if len(ratios) % 2:  # who is first changes, for a machine may slow down all along
            mine, its = _seconds(one, times, clock), _seconds(other, times, clock)
        else:
            its, mine = _seconds(other, times, clock), _seconds(one, times, clock)
        ratios.append(its / mine)
    return median(ratios)


def _seconds(work: Work, times: int, clock: Clock) -> float:
    began = clock()
    for _ in range(times):
        work()
    return clock() - began
