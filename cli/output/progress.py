"""Progress on stderr: run events in; out comes a bar on a terminal, and in a log a line now and then."""

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
from pipeline.run.events import EvaluationDone, Event, ItemsDone, Listener, Message, RunPlanned, StepDone

FIRST_LINE_SECONDS, MOST_SECONDS_A_LINE = 10.0, 300.0
"""A log of a run of days has some hundred lines a day, and one of a minute has two or three."""
SECONDS_BEFORE_A_BAR = 2.0
"""Of commands that mostly take a moment: a bar that comes and goes is noise."""


class _Rates(ProgressColumn):
    """What was done a second, on average over this run: items, and where there are any, frames and bytes of video."""

    def render(self, task: Task) -> Text:
        return Text(rates(task.fields["done"], task.fields["unit"], task.elapsed))


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


def rates(done: ItemsDone, unit: str, seconds: float | None) -> str:
    """What was done a second: items, and where there are any, frames and bytes of video.

    >>> rates(ItemsDone(450, num_frames=5400), "videos", 10.0), rates(ItemsDone(), "steps", 10.0)
    ('45.0 videos/s 540 frames/s', '- steps/s')
    """
    if done.num_done == 0 or not seconds:
        return f"- {unit}/s"
    found = [f"{done.num_done / seconds:.1f} {unit}/s"]
    if done.num_frames:
        found.append(f"{done.num_frames / seconds:.0f} frames/s")
    if done.num_source_bytes:
        found.append(f"{done.num_source_bytes / 1e6 / seconds:.1f} MB/s")
    return " ".join(found)


@contextmanager
def progress_listener(title: str, shown: bool, *, after_seconds: float = 0.0) -> Iterator[Listener]:
    """Show the progress while the block runs: as a bar on a terminal, elsewhere as a line now and then.

    Args:
        title: Of the bar and the lines.
        shown: False: messages only, and a line an evaluation.
        after_seconds: When the bar appears: what may be done in a moment needs none.
    """
    console = Console(stderr=True)
    if not shown:
        yield say_event
        return
    # A bar needs a terminal that it can draw over.
    if not console.is_interactive:
        yield LineListener(title)
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
                # All at once: the bar appears with what is done already.
                self._listener(earlier)
            return
        self._listener(event)


class LineListener:
    """Tells of a long run in lines: the first after `FIRST_LINE_SECONDS`, then ever fewer."""

    def __init__(self, title: str) -> None:
        """Begin each line with a title."""
        self._title = title
        self._plan = RunPlanned("items", 0, 0)
        self._note = ""
        self._begin()

    def __call__(self, event: Event) -> None:
        """Hear an event; say something where it is time."""
        match event:
            case RunPlanned():
                self._plan, self._note = event, ""
                self._begin()
            case ItemsDone():
                if self._done + event == ItemsDone():  # what it took to start the workers is no part of any rate
                    self._begin()
                self._add(event)
            case StepDone():
                self._note = f"; epoch {event.epoch}, loss {event.loss:.3f}"
                self._add(ItemsDone(1))
            case _:
                say_event(event)

    def _begin(self) -> None:
        self._done, self._began, self._wait = ItemsDone(), time.monotonic(), FIRST_LINE_SECONDS
        self._due = self._began + self._wait

    def _add(self, items: ItemsDone) -> None:
        self._done += items
        now = time.monotonic()
        if now < self._due:
            return
        self._wait = min(2 * self._wait, MOST_SECONDS_A_LINE)
        self._due = now + self._wait
        plan, done, seconds = self._plan, self._done, now - self._began
        num_done = plan.num_complete + done.num_done
        left = seconds_left(done.num_done, plan.num_total - num_done, seconds)
        failed = f"; {done.num_failed:,} failed" if done.num_failed else ""
        time_left = "" if left is None else f"; {timedelta(seconds=round(left))} left"
        speed = rates(done, plan.unit, seconds).replace("/s ", "/s, ")
        say(f"{self._title}: {num_done:,} of {plan.num_total:,} {plan.unit}; {speed}{failed}{self._note}{time_left}")


def say_event(event: Event) -> None:
    """The listener if no progress is shown: messages, and a line an evaluation."""
    match event:
        case Message(text, is_warning):
            say(f"warning: {text}" if is_warning else text)
        case EvaluationDone():
            watched = "" if event.watched_t2v_r1 is None else f"; watched, not chosen by: {event.watched_t2v_r1:.1f}"
            say(
                f"epoch {event.epoch} of {event.num_epochs}, step {event.step:,}: mean loss {event.mean_loss:.4f}, "
                f"validation R@1 {event.validation_r1:.1f}{watched}"
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
            case EvaluationDone():
                self._validation = f"  val R@1 {event.validation_r1:.1f}"

    def _add(self, items: ItemsDone) -> None:
        self._done += items
        if self._done == ItemsDone():
            self._start_clock()
        note = f"{self._done.num_failed:,} failed" if self._done.num_failed else ""
        self._progress.update(self._task, advance=items.num_done, done=self._done, note=note)

    def _start_clock(self) -> None:
        """The work begins only now: what it took to start the workers is no part of any rate."""
        # What is complete from earlier runs stays on the bar; the clock starts again.
        self._progress.reset(self._task, completed=int(self._progress.tasks[0].completed))
