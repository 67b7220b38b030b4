"""Events of a run. Progress is a callback on these; the caller decides how to show them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar, TypeVar

_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True)
class RunPlanned:
    """The run has planned its work."""

    unit: str
    """What is counted: `videos`, `captions`, `steps`."""
    num_total: int
    num_complete: int
    """Of these, how many were complete before: by an earlier run, or before anything was told."""


@dataclass(frozen=True, slots=True)
class ItemsDone:
    """Some more items are done. All zeros: the work has begun.

    >>> ItemsDone(3, num_failed=1) + ItemsDone(2)
    ItemsDone(num_done=5, num_failed=1, num_frames=0, num_source_bytes=0)
    >>> ItemsDone(5, num_failed=1) - ItemsDone(3, num_failed=1)
    ItemsDone(num_done=2, num_failed=0, num_frames=0, num_source_bytes=0)
    """

    num_done: int = 0
    """In the unit of the plan, including those that failed."""
    num_failed: int = 0
    num_frames: int = 0
    """Frames decoded and stored, or encoded."""
    num_source_bytes: int = 0
    """Bytes of the video files that were read."""

    def __add__(self, other: ItemsDone) -> ItemsDone:
        return ItemsDone(
            self.num_done + other.num_done,
            self.num_failed + other.num_failed,
            self.num_frames + other.num_frames,
            self.num_source_bytes + other.num_source_bytes,
        )

    def __sub__(self, other: ItemsDone) -> ItemsDone:
        return ItemsDone(
            self.num_done - other.num_done,
            self.num_failed - other.num_failed,
            self.num_frames - other.num_frames,
            self.num_source_bytes - other.num_source_bytes,
        )


@dataclass(frozen=True, slots=True)
class StepDone:
    """One step of training."""

    epoch: int
    loss: float
    learning_rate: float
    num_videos: int
    """Clips of this step, over all devices."""


@dataclass(frozen=True, slots=True)
class EvaluationDone:
    """One evaluation in training: after an epoch, or several times in it."""

    number: int
    """In the whole run, counted from 1."""
    epoch: int
    num_epochs: int
    step: int
    """The step after which it was made, in the whole run, counted from 1."""
    mean_loss: float
    """Over the pairs since the evaluation before."""
    validation_r1: float
    """Text-to-video R@1 on the validation videos, percent."""
    window_r1: float
    """Mean of the last validation R@1s, as many as `window` says and there are: by this the best is chosen."""
    is_best: bool
    """Whether it is the best so far: its weights are kept."""
    watched_t2v_r1: float | None = None
    """Text-to-video R@1 on the split that is watched, percent; None if none is. Nothing is chosen by it."""
    watched_v2t_r1: float | None = None
    """Video-to-text R@1 there."""


@dataclass(frozen=True, slots=True)
class Message:
    """One sentence for whoever watches the run."""

    text: str
    is_warning: bool = False
    """Warnings are in the run's result as well."""


Event = RunPlanned | ItemsDone | StepDone | EvaluationDone | Message
Listener = Callable[[Event], None]
Tell = Callable[[ItemsDone], None]
"""How a task reports its progress. Every `Listener` is one."""


def ignore_events(event: Event) -> None:
    """A listener that does nothing."""


class Phase:
    """Part of a run beside its work proper, told of once it has lasted `SHORT_SECONDS`: a moment is nobody's business.

    What was done until then counts as complete, so that rates are right from then on.

    >>> heard = []
    >>> list(Phase("records", 2, heard.append).each("ab")), heard
    (['a', 'b'], [])
    """

    SHORT_SECONDS: ClassVar[float] = 2.0

    def __init__(self, unit: str, num_total: int, listener: Listener) -> None:
        """Begin; `unit` is what is counted."""
        self._unit, self._num_total, self._listener = unit, num_total, listener
        self._num_done, self._began = 0, time.monotonic()
        self.is_told = False

    def done(self, number: int = 1) -> None:
        """So many more are done."""
        if self.is_told:
            self._listener(ItemsDone(number))
            return
        self._num_done += number
        if time.monotonic() - self._began >= self.SHORT_SECONDS:
            self.is_told = True
            self._listener(RunPlanned(self._unit, self._num_total, self._num_done))

    def each(self, items: Iterable[_Item]) -> Iterator[_Item]:
        """Hand items on; each is done once the next one is asked for."""
        for item in items:
            yield item
            self.done()


class Reporter:
    """Passes messages on as events, and collects the warnings for the result of a run."""

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        self._warnings: list[str] = []

    @property
    def warnings(self) -> tuple[str, ...]:
        """Every warning so far, in order."""
        return tuple(self._warnings)

    def hear(self, event: Event) -> None:
        """Pass an event on, and collect it if it is a warning: the listener for what a run calls."""
        if isinstance(event, Message) and event.is_warning:
            self._warnings.append(event.text)
        self.listener(event)

    def say(self, text: str) -> None:
        """Report what the run does."""
        self.listener(Message(text))

    def warn(self, text: str) -> None:
        """Report what the user should know before trusting the result."""
        self.hear(Message(text, is_warning=True))
