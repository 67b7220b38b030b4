"""How much faster one way to compute is, by a clock that the tests turn: machines that slow down, or are disturbed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count, repeat

import pytest

from pipeline.features.timing import LEAST_ROUNDS, LEAST_SECONDS, speedup_of


@dataclass
class Machine:
    """Work takes its seconds of this machine's clock, times how slow the machine is at that call."""

    slowness: Iterator[float] = field(default_factory=lambda: repeat(1.0))
    resolution: float = 0.0
    now: float = 100.0
    num_calls: int = 0

    def clock(self) -> float:
        return self.now // self.resolution * self.resolution if self.resolution else self.now

    def work(self, seconds: float) -> Callable[[], None]:
        def do() -> None:
            self.now += seconds * next(self.slowness)
            self.num_calls += 1

        return do


def measured(machine: Machine, one: float, other: float, limit: float = 1.5) -> float:
    return speedup_of(machine.work(one), machine.work(other), machine.clock, limit)


@pytest.mark.parametrize(("one", "other"), [(0.1, 0.2), (1e-5, 2e-5), (5.0, 10.0)])
def test_work_of_any_length(one: float, other: float) -> None:
    assert measured(Machine(), one, other) == pytest.approx(2)


def test_short_work_is_repeated_until_the_clock_can_tell() -> None:
    machine = Machine(resolution=LEAST_SECONDS / 30)
    assert measured(machine, 1e-5, 1.5e-5) == pytest.approx(1.5, rel=0.1)


def test_long_work_is_done_few_times() -> None:
    machine = Machine()
    measured(machine, 10, 20)
    assert machine.num_calls <= 8


def test_pairs_that_agree_are_enough_and_others_are_not() -> None:
    quiet, busy = Machine(), Machine(1 + number % 5 / 5 for number in count())
    assert measured(quiet, 0.04, 0.06) == pytest.approx(1.5)
    measured(busy, 0.04, 0.06)
    assert quiet.num_calls == 2 * (1 + LEAST_ROUNDS) < busy.num_calls


@pytest.mark.parametrize(("limit", "is_clear"), [(0.5, True), (1.5, False), (3.0, True)])
def test_few_pairs_are_enough_where_all_are_far_from_the_limit(limit: float, is_clear: bool) -> None:
    machine = Machine(1 + number % 5 / 5 for number in count())
    measured(machine, 0.04, 0.06, limit)
    assert (machine.num_calls == 2 * (1 + LEAST_ROUNDS)) is is_clear


def test_a_machine_that_gets_slower_and_slower() -> None:
    machine = Machine(1 + number / 20 for number in count())
    assert measured(machine, 0.1, 0.13) == pytest.approx(1.3, rel=0.1)


def test_moments_in_which_the_machine_does_other_work() -> None:
    """Every seventh call takes forty times as long, whichever it is."""
    machine = Machine(40.0 if number % 7 == 6 else 1.0 for number in count())
    assert measured(machine, 0.04, 0.06) == pytest.approx(1.5)
