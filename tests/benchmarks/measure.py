"""Timing methods against a named peer: interleaved, so that a machine that slows down slows all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from statistics import median


def interleaved(methods: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Run all methods in turn, again and again, after one round that is not counted.

    Returns:
        Method -> median seconds.
    """
    times: dict[str, list[float]] = {name: [] for name in methods}
    for round_number in range(repeats + 1):
        for name, run in methods.items():
            start = time.perf_counter()
            run()
            if round_number:
                times[name].append(time.perf_counter() - start)
    return {name: median(values) for name, values in times.items()}


def print_ratios(title: str, seconds: Mapping[str, float], peer: str) -> None:
    """Print a line a method: its time, and how many times faster it is than the peer."""
    print(f"\n{title}")
    for name, value in seconds.items():
        print(f"  {name:44} {1e3 * value:10.1f} ms   {seconds[peer] / value:6.2f}x {peer}")
