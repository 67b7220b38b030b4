"""Random numbers: one seed, and a separate stream for each use of it."""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Stream(IntEnum):
    """One use of the random seed. The values are part of the results: never renumber them."""

    HOLD_OUT = 1
    EPOCH = 2
    AUGMENTATION = 3
    SHUFFLE = 4
    AREA = 5
    INSPECTION = 6


def generator(stream: Stream, seed: int, *place: int) -> np.random.Generator:
    """The generator of one use at one place (an epoch, a row). It does not depend on what was drawn before, or where.

    >>> first, other = generator(Stream.EPOCH, 3), generator(Stream.EPOCH, 3, 1)
    >>> bool(first.integers(1 << 60) == other.integers(1 << 60))
    False
    """
    # Stream and number of places come first, because NumPy seeds `[3]` and `[3, 0]` alike.
    return np.random.default_rng([int(stream), len(place), seed, *place])
