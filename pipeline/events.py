"""What a run tells while it goes on. Progress is these events to a callback; how they look is the caller's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from store.schema import Shard


@dataclass(frozen=True, slots=True)
class RunPlanned:
    """The run knows what it has to do."""

    unit: str
    """What is counted: `videos`, `captions`, `steps`."""
    num_total: int
    num_standing: int
    """Of these, how many an earlier run has done."""


@dataclass(frozen=True, slots=True)
class ShardDone:
    """A shard was committed."""

    shard: Shard
    num_done: int
    """In the unit of the plan."""
    num_failed: int


@dataclass(frozen=True, slots=True)
class StepDone:
    """One step of training."""

    epoch: int
    loss: float
    learning_rate: float


@dataclass(frozen=True, slots=True)
class EpochDone:
    """One epoch of training, validated."""

    epoch: int
    num_epochs: int
    mean_loss: float
    validation_r1: float
    """Text-to-video R@1 on the validation videos, percent."""
    is_best: bool


Event = RunPlanned | ShardDone | StepDone | EpochDone
Listener = Callable[[Event], None]


def ignore_events(event: Event) -> None:
    """The listener of a caller that wants none."""
