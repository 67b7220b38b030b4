"""Which splits a suite has, and how large each size is: data, from which all clips follow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from pipeline.synthetic.factors import FACTORS, PICTURE_FACTORS
from pipeline.synthetic.objects import Kind, kinds_of


class Suite(StrEnum):
    """What is asked of a model."""

    DEMO = "demo"
    """Which of four objects moves: the data set of `fda demo`."""
    FACTORS = "factors"
    """The same under every factor: one test split for each level."""
    STATIC = "static"
    """Captions of what moves, and captions of what does not."""
    LONG = "long"
    """Several movements in up to a minute, whose order is told."""


class Size(StrEnum):
    """How much of it."""

    TINY = "tiny"
    SMALL = "small"
    MEDIUM = "medium"
    LARGE = "large"


@dataclass(frozen=True, slots=True)
class Amount:
    """What a size means."""

    num_train: int
    num_eval: int
    """Of each validation and test split."""
    width: int = 192
    height: int = 144
    num_colours: int = 6
    num_shapes: int = 4
    fps: int = 12

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """All objects that there may be."""
        return kinds_of(self.num_colours, self.num_shapes)


AMOUNTS: Mapping[Size, Amount] = {
    Size.TINY: Amount(32, 4),
    Size.SMALL: Amount(960, 24),
    Size.MEDIUM: Amount(9_600, 80, 320, 240, num_colours=10, num_shapes=8),
    Size.LARGE: Amount(96_000, 80, 320, 240, num_colours=10, num_shapes=8),
}
SHORTER_TRAIN = 4
"""The clips of `long` last some ten times as long: there are so many times fewer to train with."""
EVENT_COUNTS = (1, 2, 4, 8)
"""Of the test splits of `long`."""
LONG_SECONDS = 60.0
"""The longest clip of `long`."""


@dataclass(frozen=True, slots=True)
class SplitSpec:
    """One split: how many clips, and what is special about them."""

    name: str
    num_clips: int
    stream: int
    """Splits of equal stream show the same scenes, clip by clip, so that a level can be compared with another pair by
    pair."""
    levels: Mapping[str, float] = field(default_factory=dict)
    """Factors that this split sets."""
    mixed: tuple[str, ...] = ()
    """Factors that each clip draws a level of."""
    rest_every: int = 0
    """0: every caption names the mover. n: in every n-th round through the kinds it names an object that rests."""
    event_counts: tuple[int, ...] = ()
    """Of `long`: clip i has the count i modulo their number, and lasts up to a minute. Empty: see `Settings.events`."""
    is_distinct: bool = True
    """Whether no two captions may be equal: for all splits but those to train with."""


def splits_of(suite: Suite, amount: Amount) -> tuple[SplitSpec, ...]:
    """The splits of a suite.

    >>> [one.name for one in splits_of(Suite.STATIC, Amount(48, 6))]
    ['train', 'val', 'val-static', 'test', 'test-static']
    """
    train, evaluated = amount.num_train, amount.num_eval
    match suite:
        case Suite.DEMO:
            return (
                SplitSpec("train", train, 0, rest_every=5, is_distinct=False),
                SplitSpec("val", evaluated, 1),
                SplitSpec("test", evaluated, 2),
                SplitSpec("still", evaluated, 3, rest_every=1),
            )
        case Suite.FACTORS:
            return (
                SplitSpec("train", train, 0, mixed=PICTURE_FACTORS, is_distinct=False),
                SplitSpec("val", evaluated, 1, mixed=PICTURE_FACTORS),
                SplitSpec("test", evaluated, 2),
                *(
                    SplitSpec(f"test-{name}-{level}", evaluated, 2, levels={name: FACTORS[name].levels[level]})
                    for name in PICTURE_FACTORS
                    for level in FACTORS[name].others
                ),
            )
        case Suite.STATIC:
            return (
                SplitSpec("train", train, 0, rest_every=2, is_distinct=False),
                SplitSpec("val", evaluated, 1),
                SplitSpec("val-static", evaluated, 4, rest_every=1),
                SplitSpec("test", evaluated, 2),
                SplitSpec("test-static", evaluated, 3, rest_every=1),
            )
        case Suite.LONG:
            return (
                SplitSpec("train", train // SHORTER_TRAIN, 0, event_counts=tuple(range(1, 9)), is_distinct=False),
                SplitSpec("val", evaluated, 1, event_counts=EVENT_COUNTS),
                *(
                    SplitSpec(f"test-events-{count}", evaluated, 10 + count, event_counts=(count,))
                    for count in EVENT_COUNTS
                ),
            )
