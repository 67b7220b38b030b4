"""Timing methods against a named peer: interleaved, so that a machine that slows down slows all of them.

Tables that are printed are kept as well, with how many rounds there were and how far these differed, and
`python -m tests.benchmarks` writes them to a file.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Self


@dataclass(frozen=True, slots=True)
class Cost:
    """What one run took."""

    wall_seconds: float
    cpu_seconds: float
    """Of all threads and of processes that were waited for; user and system."""


@dataclass(frozen=True, slots=True)
class Row:
    """One method in a table."""

    method: str
    seconds: float | None
    """Median; None where the method could not run."""
    ratio: float | None
    """How many times faster than the peer; None where the method could not run or gave something else."""
    note: str = ""
    """Why there is no ratio, or what else is to be known."""


@dataclass(frozen=True, slots=True)
class Table:
    """Methods that do the same work, against one of them."""

    title: str
    peer: str
    rows: tuple[Row, ...]

    def row(self, method: str) -> Row:
        """The row of a method.

        Raises:
            KeyError: There is none.
        """
        for row in self.rows:
            if row.method == method:
                return row
        raise KeyError(method)

    def __str__(self) -> str:
        lines = [self.title]
        for row in self.rows:
            seconds = " " * 13 if row.seconds is None else f"{1e3 * row.seconds:10.1f} ms"
            ratio = "" if row.ratio is None else f"{row.ratio:6.2f}x {self.peer}"
            lines.append(
                f"  {row.method:44} {seconds}   {ratio}{'  ' if ratio and row.note else ''}{row.note}".rstrip()
            )
        return "\n".join(lines)


printed: list[Table] = []
"""Every table printed so far by this process."""


@dataclass(frozen=True, slots=True)
class Rounds:
    """How often methods ran in turns, and how far the rounds of one and the same method differed."""

    methods: tuple[str, ...]
    num_rounds: int
    wall_spread: float
    """Time of the slowest round by that of the fastest, of the method where it is largest."""
    cpu_spread: float

    @classmethod
    def of(cls, rounds: Mapping[str, Sequence[Cost]]) -> Self:
        """Those of some methods, each of which ran as often."""
        walls = [[cost.wall_seconds for cost in of] for of in rounds.values()]
        processors = [[cost.cpu_seconds for cost in of] for of in rounds.values()]
        return cls(tuple(rounds), len(walls[0]), _spread(walls), _spread(processors))

    def __str__(self) -> str:
        """As it is printed.

        >>> print(Rounds.of({"fda": [Cost(2, 1), Cost(3, 1)], "tar": [Cost(4, 1), Cost(5, 1.1)]}))
        2 rounds, which differ by up to 1.50x of a clock, 1.10x of the processor
        """
        if self.num_rounds == 1:
            return "1 round"
        differ = f"by up to {self.wall_spread:.2f}x of a clock, {self.cpu_spread:.2f}x of the processor"
        return f"{self.num_rounds} rounds, which differ {differ}"


def _spread(times: Sequence[Sequence[float]]) -> float:
    return max((max(of) / min(of) for of in times if min(of) > 0), default=1.0)


rounds_made: list[Rounds] = []
"""Of everything timed so far by this process."""


LONG_SECONDS = 20.0
"""Of rounds that count: no further one begins after so long. A first round that takes as long is counted too, for what
must warm up is a small part of it. So that all benchmarks end within half an hour."""
MIN_ROUNDS = 2
"""That count, however long they take."""


def interleaved_costs(
    methods: Mapping[str, Callable[[], Cost]], repeats: int, *, is_warm: bool = False
) -> dict[str, Cost]:
    """Run all methods in turn, again and again, after one round that is not counted; see `LONG_SECONDS`.

    Args:
        methods: Name -> run.
        repeats: Rounds that count, at most.
        is_warm: Every method has run just before, so that the first round counts.

    Returns:
        Method -> medians of what it said it took.
    """
    return {
        name: Cost(median(cost.wall_seconds for cost in of), median(cost.cpu_seconds for cost in of))
        for name, of in cost_rounds(methods, repeats, is_warm=is_warm).items()
    }


def cost_rounds(
    methods: Mapping[str, Callable[[], Cost]],
    repeats: int,
    *,
    is_warm: bool = False,
    long_seconds: float = LONG_SECONDS,
) -> dict[str, list[Cost]]:
    """As `interleaved_costs`; method -> what each round took. `long_seconds` takes the place of `LONG_SECONDS`."""
    rounds: list[dict[str, Cost]] = []
    if not is_warm and seconds_of([first := _one_round(methods)]) > long_seconds:
        rounds.append(first)
    while len(rounds) < repeats and (len(rounds) < MIN_ROUNDS or seconds_of(rounds) < long_seconds):
        rounds.append(_one_round(methods))
    found = {name: [one[name] for one in rounds] for name in methods}
    rounds_made.append(Rounds.of(found))
    print(f"  ({rounds_made[-1]})", flush=True)
    return found


def _one_round(methods: Mapping[str, Callable[[], Cost]]) -> dict[str, Cost]:
    return {name: run() for name, run in methods.items()}


def seconds_of(rounds: Sequence[Mapping[str, Cost]]) -> float:
    """Of a clock, for all methods of all rounds."""
    return sum(cost.wall_seconds for one in rounds for cost in one.values())


def paired_seconds(
    methods: Mapping[str, Callable[[], object]],
    repeats: int,
    peer_of: Mapping[str, str],
    *,
    of_processor: bool = False,
    is_warm: bool = False,
) -> dict[str, tuple[float, float]]:
    """As `interleaved`, for runs of seconds, over which a machine's speed drifts: each run against its own neighbour.

    Args:
        methods: a method right after its peer.
        repeats: rounds that count, at most.
        peer_of: method -> what it is compared with.
        of_processor: take the processor's time, which the work of others hardly changes, not that of a clock.
        is_warm: every method has run just before.

    Returns:
        Method -> median seconds, and the median over the rounds of how many times faster than its peer it was.
    """
    rounds = cost_rounds({name: timed(run) for name, run in methods.items()}, repeats, is_warm=is_warm)
    taken = {
        name: [cost.cpu_seconds if of_processor else cost.wall_seconds for cost in of] for name, of in rounds.items()
    }
    return {
        name: (median(of), median(base / mine for base, mine in zip(taken[peer_of[name]], of, strict=True)))
        for name, of in taken.items()
    }


def timed(run: Callable[[], object]) -> Callable[[], Cost]:
    """What a function in this process takes."""

    def cost() -> Cost:
        wall, cpu = time.perf_counter(), time.process_time()
        run()
        return Cost(time.perf_counter() - wall, time.process_time() - cpu)

    return cost


def interleaved(methods: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """As `interleaved_costs`, for functions in this process.

    Returns:
        Method -> median seconds of wall time.
    """
    costs = interleaved_costs({name: timed(run) for name, run in methods.items()}, repeats)
    return {name: cost.wall_seconds for name, cost in costs.items()}


def ratio_table(
    title: str, seconds: Mapping[str, float | None], peer: str, notes: Mapping[str, str] | None = None
) -> Table:
    """Compare methods with one of them; a method with a note that begins with "wrong" gets no ratio.

    >>> print(ratio_table("reading", {"tar": 0.02, "fda": 0.005}, "tar"))
    reading
      tar                                                20.0 ms     1.00x tar
      fda                                                 5.0 ms     4.00x tar
    """
    notes = notes or {}
    base = seconds[peer]
    if base is None:
        raise ValueError(f"{peer}, which all are compared with, was not measured: {notes.get(peer, 'no reason given')}")
    rows = []
    for method, value in seconds.items():
        note = notes.get(method, "")
        comparable = value is not None and not note.startswith("wrong")
        rows.append(Row(method, value, base / value if comparable and value is not None else None, note))
    return Table(title, peer, tuple(rows))


def print_table(table: Table) -> None:
    """Print a table, and keep it for the file of results."""
    printed.append(table)
    print(f"\n{table}", flush=True)


def print_ratios(title: str, seconds: Mapping[str, float], peer: str) -> None:
    """Print a line a method: its time, and how many times faster it is than the peer."""
    print_table(ratio_table(title, seconds, peer))
