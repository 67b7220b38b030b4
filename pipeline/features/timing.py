"""How much faster one way to compute is than another, on a machine that does other work meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median

Work = Callable[[], object]
Clock = Callable[[], float]

LEAST_SECONDS = 0.03
"""Of a round. Work that is shorter is repeated: a call of a tiny model is over before a thread is woken."""

LEAST_ROUNDS, MOST_ROUNDS = 3, 11
"""Of each."""

AGREEMENT = 1.05
"""Where the largest ratio of a pair is at most so many times the smallest, more pairs would say the same."""

CLEARLY = 1.25
"""Where all pairs are above the limit by this factor, or all below it, more pairs would not change the decision."""

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
    while len(ratios) < LEAST_ROUNDS or not (
        _is_decided(ratios, limit) or len(ratios) == MOST_ROUNDS or clock() - began >= ENOUGH_SECONDS
    ):
        if len(ratios) % 2:  # who is first changes, for a machine may slow down all along
            mine, its = _seconds(one, times, clock), _seconds(other, times, clock)
        else:
            its, mine = _seconds(other, times, clock), _seconds(one, times, clock)
        ratios.append(its / mine)
    return median(ratios)


def _is_decided(ratios: Sequence[float], limit: float) -> bool:
    """Whether more pairs of rounds would change nothing.

    >>> _is_decided([1.1, 1.14, 1.12], 1.1), _is_decided([1.4, 3.0], 1.1), _is_decided([0.5, 3.0], 1.1)
    (True, True, False)
    """
    least, most = min(ratios), max(ratios)
    return most <= AGREEMENT * least or most <= limit / CLEARLY or least >= limit * CLEARLY


def _seconds(work: Work, times: int, clock: Clock) -> float:
    began = clock()
    for _ in range(times):
        work()
    return clock() - began
