"""`make soak`: runs are killed, or their disk fails, at thousands of random moments; no byte may be lost or differ.

    python -m tests.soak --points 10000 --seed 0
    python -m tests.soak --seed 0 --only 1234        one trial again

Every command that writes into a store (tests/faults/scenarios.py) is disturbed once, twice or three times in a row and
then run to its end. Exit code 1 at the first trial that goes wrong; it says how to run that trial again.
"""

from __future__ import annotations

import argparse
import collections
import gc
import random
import sys
import time
import traceback

from tests.faults.draws import draw_trial
from tests.faults.policies import Failure, Point
from tests.faults.scenarios import SCENARIOS, Scenario
from tests.faults.trials import Trials, trials_in_memory

SECONDS_BETWEEN_LINES = 10


def main() -> int:
    """Run the trials; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, default=10_000, help="Faults in all. [default: %(default)s]")
    parser.add_argument("--seed", type=int, default=0, help="[default: %(default)s]")
    parser.add_argument("--only", type=int, help="Run this trial alone.")
    given = parser.parse_args()
    with trials_in_memory() as trials:
        for scenario in SCENARIOS:
            trials.undisturbed(scenario)
        gc.collect()
        gc.freeze()  # a copy of this process need not copy what it will not change
        if given.only is not None:
            return int(not succeeds(trials, given.seed, given.only))
        return soak(trials, given.seed, given.points)


def soak(trials: Trials, seed: int, num_points: int) -> int:
    """Run trials until so many faults have been tried; the exit code."""
    counts: collections.Counter[str] = collections.Counter()
    begun = said = time.monotonic()
    trial = 0
    while counts["faults"] < num_points:
        scenario, faults = drawn(trials, seed, trial)
        if not succeeds(trials, seed, trial):
            return 1
        trial += 1
        counts["faults"] += len(faults)
        counts["kills"] += sum(isinstance(fault, Point) for fault in faults)
        counts[scenario.name] += len(faults)
        now = time.monotonic()
        if now - said >= SECONDS_BETWEEN_LINES:
            said = now
            rate = counts["faults"] / (now - begun)
            print(f"{counts['faults']:,} of {num_points:,} points, {rate:.1f} a second, all well", flush=True)
    seconds = time.monotonic() - begun
    print(
        f"{counts['faults']:,} points ({counts['kills']:,} kills, {counts['faults'] - counts['kills']:,} errors) in "
        f"{trial:,} trials of seed {seed}: no byte lost or different. "
        f"{seconds:,.0f} s, {counts['faults'] / seconds:.1f} points a second"
    )
    for one in SCENARIOS:
        print(f"  {counts[one.name]:>6,}  {one.name}")
    return 0


def drawn(trials: Trials, seed: int, trial: int) -> tuple[Scenario, list[Point | Failure]]:
    """What trial number `trial` of a seed is."""
    return draw_trial(trials, SCENARIOS, random.Random(f"{seed}:{trial}"))


def succeeds(trials: Trials, seed: int, trial: int) -> bool:
    """Run one trial, and say what went wrong."""
    scenario, faults = drawn(trials, seed, trial)
    try:
        trials.disturbed(scenario, faults)
    except BaseException as error:
        print(f"{scenario.name!r} disturbed by: {'; then '.join(map(str, faults))}", file=sys.stderr)
        traceback.print_exception(error)
        print(f"run it again: python -m tests.soak --seed {seed} --only {trial}", file=sys.stderr)
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
