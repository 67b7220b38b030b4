"""Which faults to try: drawn at random, the same for the same seed."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Sequence

from tests.faults.policies import Failure, Point
from tests.faults.scenarios import Scenario
from tests.faults.trials import Trials, Undisturbed

DISK_ERRORS = (errno.ENOSPC, errno.EIO, errno.EROFS, errno.EDQUOT)
SHARE_OF_KILLS = 0.75


def draw_trial(
    trials: Trials, scenarios: Sequence[Scenario], rng: random.Random
) -> tuple[Scenario, list[Point | Failure]]:
    """A scenario, those with more points more often, and one to three faults that hit one run after the other."""
    sizes = [len(trials.undisturbed(scenario).points) for scenario in scenarios]
    scenario = rng.choices(scenarios, sizes)[0]
    right = trials.undisturbed(scenario)
    return scenario, [draw_fault(right, rng) for _ in range(rng.choices((1, 2, 3), (6, 3, 1))[0])]


def draw_fault(right: Undisturbed, rng: random.Random) -> Point | Failure:
    """A kill or a failure somewhere in a run."""
    return rng.choice(right.points) if rng.random() < SHARE_OF_KILLS else draw_failure(right, rng)


def draw_failure(right: Undisturbed, rng: random.Random) -> Failure:
    """A failure of any operation."""
    return Failure(
        number=rng.randrange(len(right.operations)),
        error=draw_error(rng),
        is_for_good=rng.random() < 0.5,
        is_half=rng.random() < 0.3,
    )


def draw_error(rng: random.Random) -> BaseException:
    """What a disk says, a bug, or a user who has waited enough."""
    number = rng.choice([*DISK_ERRORS, None])
    if number is not None:
        return OSError(number, os.strerror(number))
    return rng.choice([RuntimeError("a bug"), KeyboardInterrupt()])
