"""The progress bar: run events in, one line on stderr out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from pipeline.events import EpochDone, Event, Listener, RunPlanned, ShardDone, StepDone, ignore_events


class _Rate(ProgressColumn):
    """What was done a second, of this run alone."""

    def render(self, task: Task) -> Text:
        done = task.completed - task.fields["num_standing"]
        seconds = task.elapsed or 0.0
        rate = f"{done / seconds:.1f}" if done > 0 and seconds > 0 else "-"
        return Text(f"{rate} {task.fields['unit']}/s")


@contextmanager
def progress_listener(title: str, shown: bool | None) -> Iterator[Listener]:
    """Show a bar while the block runs; `shown` None means: where stderr is a terminal."""
    console = Console(stderr=True)
    if shown is False or (shown is None and not console.is_terminal):
        yield ignore_events
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TextColumn("{task.fields[note]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        yield _Bar(progress, title)


class _Bar:
    """Turns events into one bar at a time."""

    def __init__(self, progress: Progress, title: str) -> None:
        self._progress = progress
        self._title = title
        self._task = progress.add_task(title, total=None, note="", unit="", num_standing=0)
        self._num_failed = 0
        self._validation = ""

    def __call__(self, event: Event) -> None:
        match event:
            case RunPlanned():
                self._progress.reset(self._task, total=event.num_total, completed=event.num_standing)
                self._progress.update(self._task, unit=event.unit, num_standing=event.num_standing)
            case ShardDone():
                self._num_failed += event.num_failed
                note = f"{self._num_failed} failed" if self._num_failed else ""
                self._progress.update(self._task, advance=event.num_done, note=note)
            case StepDone():
                note = f"epoch {event.epoch}  loss {event.loss:.3f}  rate {event.learning_rate:.1e}{self._validation}"
                self._progress.update(self._task, advance=1, note=note)
            case EpochDone():
                self._validation = f"  val R@1 {event.validation_r1:.1f}"
