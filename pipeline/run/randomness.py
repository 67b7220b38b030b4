"""Where chance comes from: one seed, and for each use of it a stream of its own."""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Stream(IntEnum):
    """What is drawn. Without these, two uses of one seed would draw the same: `[3]` and `[3, 0]` seed alike."""

    HOLD_OUT = 1
    EPOCH = 2
    AUGMENTATION = 3
    SHUFFLE = 4
    AREA = 5


def generator(stream: Stream, seed: int, *place: int) -> np.random.Generator:
    """The generator of one use at one place (an epoch, a row), the same wherever and in whatever order it is asked for.

    >>> first, other = generator(Stream.EPOCH, 3), generator(Stream.EPOCH, 3, 1)
    >>> bool(first.integers(1 << 60) == other.integers(1 << 60))
    False
    """
    return np.random.default_rng([int(stream), len(place), seed, *place])
