"""When training evaluates, and by what it chooses the weights that it keeps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def evaluation_steps(num_steps: int, evaluations: int) -> tuple[int, ...]:
    """The steps of an epoch, counted from 1, after which it is evaluated: equally spread, the last one among them.

    As X-Pool's `trainer.py` has it: `linspace(0, num_steps - 1, evaluations + 1)` without its first value, cut to
    integers, each step once.

    >>> evaluation_steps(21, 4), evaluation_steps(21, 1), evaluation_steps(2, 10), evaluation_steps(1, 10)
    ((6, 11, 16, 21), (21,), (1, 2), (1,))

    Args:
        num_steps: Of the epoch, at least 1.
        evaluations: At most so many, at least 1.
    """
    places = np.linspace(0, num_steps - 1, evaluations + 1, dtype=int)[1:]
    return tuple(int(place) + 1 for place in np.unique(places))


def window_mean(scores: Sequence[float], window: int) -> float:
    """The mean of the last scores: of `window`, or of those that there are.

    >>> window_mean([10.0, 20.0, 60.0], 2), window_mean([10.0], 5)
    (40.0, 10.0)
    """
    last = scores[-window:]
    return sum(last) / len(last)
