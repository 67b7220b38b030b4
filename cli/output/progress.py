"""The progress bar: run events in, one line on stderr out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn
from rich.table import Column
from rich.text import Text

from cli.output.printing import say
from pipeline.run.events import EpochDone, Event, ItemsDone, Listener, Message, RunPlanned, StepDone


class _Rates(ProgressColumn):
    """What was done a second, on average over this run: items, and where there are any, frames and bytes of video."""

    def render(self, task: Task) -> Text:
        done, seconds = task.fields["done"], task.elapsed or 0.0
        if done.num_done == 0 or seconds == 0:
            return Text(f"- {task.fields['unit']}/s")
        rates = [f"{done.num_done / seconds:.1f} {task.fields['unit']}/s"]
        if done.num_frames:
            rates.append(f"{done.num_frames / seconds:.0f} frames/s")
        if done.num_source_bytes:
            rates.append(f"{done.num_source_bytes / 1e6 / seconds:.1f} MB/s")
        return Text(" ".join(rates))


class _TimeLeft(ProgressColumn):
    """When the rest is done at the average rate of this run, which does not jump as a rate of the last seconds does."""

    def render(self, task: Task) -> Text:
        left = seconds_left(task.fields["done"].num_done, task.remaining, task.elapsed)
        return Text("-:--:--" if left is None else str(timedelta(seconds=round(left))))


def seconds_left(num_done: int, num_left: float | None, seconds: float | None) -> float | None:
    """How long the rest will take, or None where nothing tells.

    Args:
        num_done: By this run.
        num_left: What is still to be done, or None if that is not known.
        seconds: Since this run began its work.

    >>> seconds_left(20, 100, 5.0), seconds_left(0, 100, 5.0)
    (25.0, None)
    """
    if num_left is None or not seconds or not num_done:
        return None
    return num_left * seconds / num_done


@contextmanager
def progress_listener(title: str, shown: bool | None, *, after_seconds: float = 0.0) -> Iterator[Listener]:
    """Show a bar while the block runs; `shown` None means: where stderr is a terminal.

    What may be done in a moment gets its bar `after_seconds`.
    """
    console = Console(stderr=True)
    if shown is False or (shown is None and not console.is_terminal):
        yield say_event
        return
    with ExitStack() as stack:
        bar = LateListener(lambda: BarListener(stack.enter_context(progress_bar(console)), title), after_seconds)

        def listener(event: Event) -> None:
            if isinstance(event, Message):
                say_event(event)
            else:
                bar(event)

        yield listener


class LateListener:
    """Keeps to itself what it hears until it is time, and then hands it on as if nothing had been."""

    def __init__(self, begin: Callable[[], Listener], after_seconds: float) -> None:
        """Call `begin` for the listener once it is time."""
        self._begin, self._due = begin, time.monotonic() + after_seconds
        self._listener: Listener | None = None
        self._heard: list[Event] = []

    def __call__(self, event: Event) -> None:
        """Hear an event."""
        if self._listener is None:
            if isinstance(event, RunPlanned):  # what came before it was another run
                self._heard.clear()
            self._heard.append(event)
            if time.monotonic() < self._due:
                return
            self._listener = self._begin()
            for earlier in self._heard:
                self._listener(earlier)
            return
        self._listener(event)


def say_event(event: Event) -> None:
    """The listener if no bar is shown: messages, and a line an epoch, for training may take hours."""
    match event:
        case Message(text, is_warning):
            say(f"warning: {text}" if is_warning else text)
        case EpochDone():
            say(
                f"epoch {event.epoch} of {event.num_epochs}: mean loss {event.mean_loss:.4f}, validation R@1 "
                f"{event.validation_r1:.1f}"
            )


def progress_bar(console: Console) -> Progress:
    """The bar, drawn ten times a second whether anything comes or not: a long video must not look like a halt."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=None, table_column=Column(ratio=1)),  # gets what the others leave
        MofNCompleteColumn(),
        _Rates(table_column=Column(no_wrap=True)),
        TextColumn("{task.fields[note]}"),
        _TimeLeft(),
    )
    return Progress(*columns, console=console, expand=True)


class BarListener:
    """Turns events into one bar at a time."""

    def __init__(self, progress: Progress, title: str) -> None:
        """Show an empty bar until the run is planned."""
        self._progress = progress
        self._task = progress.add_task(title, total=None, note="", unit="", done=ItemsDone())
        self._done = ItemsDone()
        self._validation = ""
        self._num_videos = 0

    def __call__(self, event: Event) -> None:
        """Draw what an event tells."""
        match event:
            case RunPlanned():
                self._done, self._num_videos, self._validation = ItemsDone(), 0, ""
                self._progress.reset(self._task, total=event.num_total, completed=event.num_complete)
                self._progress.update(self._task, unit=event.unit, done=self._done, note="")
            case ItemsDone():
                self._add(event)
            case StepDone():
                self._add(ItemsDone(1))
                self._num_videos += event.num_videos
                seconds = self._progress.tasks[0].elapsed
                speed = f"  {self._num_videos / seconds:.1f} videos/s" if seconds else ""
                note = f"epoch {event.epoch}  loss {event.loss:.3f}  rate {event.learning_rate:.1e}{speed}"
                self._progress.update(self._task, note=note + self._validation)
            case EpochDone():
                self._validation = f"  val R@1 {event.validation_r1:.1f}"

    def _add(self, items: ItemsDone) -> None:
        self._done += items
        if self._done == ItemsDone():
            self._start_clock()
        note = f"{self._done.num_failed:,} failed" if self._done.num_failed else ""
        self._progress.update(self._task, advance=items.num_done, done=self._done, note=note)

    def _start_clock(self) -> None:
        """The work begins only now: what it took to start the workers is no part of any rate."""
        self._progress.reset(self._task, completed=int(self._progress.tasks[0].completed))
