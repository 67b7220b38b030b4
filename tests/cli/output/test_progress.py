"""The bar: what it says of a run, from the first seconds on, at a clock that the test sets."""

from __future__ import annotations

import io
import itertools

import pytest
from rich.console import Console
from rich.progress import Progress

from cli.output.progress import BarListener, LateListener, LineListener, progress_bar, progress_listener
from pipeline.run.events import EvaluationDone, Event, ItemsDone, Message, RunPlanned, StepDone


class Screen:
    """A bar on a terminal of some width, and a clock."""

    def __init__(self, width: int = 120) -> None:
        self.now = 0.0
        self._console = Console(file=io.StringIO(), force_terminal=True, width=width, color_system=None)
        self._progress: Progress = progress_bar(self._console)
        self._progress.get_time = lambda: self.now
        self.tell = BarListener(self._progress, "preprocess")

    def line(self) -> str:
        with self._console.capture() as capture:
            self._console.print(self._progress.get_renderable())
        (line,) = capture.get().splitlines()
        return " ".join(line.replace("━", "").replace("╸", "").replace("╺", "").split())


def test_it_counts_rates_and_time_left_of_this_run_alone() -> None:
    screen = Screen()
    screen.tell(RunPlanned("videos", 10_000, 1000))
    assert screen.line() == "preprocess 1000/10000 - videos/s -:--:--"
    screen.now = 3.0  # workers start
    screen.tell(ItemsDone())
    screen.now = 13.0
    screen.tell(ItemsDone(300, 2, 3600, 100_000_000))
    screen.tell(ItemsDone(150, 1, 1800, 23_000_000))
    assert screen.line() == "preprocess 1450/10000 45.0 videos/s 540 frames/s 12.3 MB/s 3 failed 0:03:10"


def test_rates_are_right_from_the_first_video_and_go_on_while_nothing_comes() -> None:
    screen = Screen()
    screen.tell(RunPlanned("videos", 21, 0))
    screen.now = 2.0
    screen.tell(ItemsDone())
    screen.now = 2.5
    screen.tell(ItemsDone(1))
    assert "2.0 videos/s 0:00:10" in screen.line()
    screen.tell(ItemsDone())  # another worker begins: the clock goes on
    screen.now = 4.0  # a long video
    assert "0.5 videos/s 0:00:40" in screen.line()


@pytest.mark.parametrize("width", [80, 100, 200])
def test_everything_fits_on_a_line(width: int) -> None:
    screen = Screen(width)
    screen.tell(RunPlanned("videos", 10_000, 0))
    screen.tell(ItemsDone())
    screen.now = 10.0
    screen.tell(ItemsDone(450, 3, 5400, 123_000_000))
    assert screen.line() == "preprocess 450/10000 45.0 videos/s 540 frames/s 12.3 MB/s 3 failed 0:03:32"


def test_steps_and_epochs() -> None:
    screen = Screen()
    screen.tell(RunPlanned("steps", 100, 0))
    screen.tell(EvaluationDone(1, 0, 5, 1, 1.0, 12.5, 12.5, is_best=True))
    screen.now = 2.0
    screen.tell(StepDone(1, 0.5, 1e-3, 8))
    assert (
        screen.line()
        == "preprocess 1/100 0.5 steps/s epoch 1 loss 0.500 rate 1.0e-03 4.0 videos/s val R@1 12.5 0:03:18"
    )


def test_the_next_plan_starts_anew() -> None:
    screen = Screen()
    screen.tell(RunPlanned("videos", 10, 0))
    screen.now = 1.0
    screen.tell(ItemsDone(10, 1))
    screen.tell(RunPlanned("captions", 40, 20))
    screen.now = 2.0
    screen.tell(ItemsDone(10))
    assert screen.line() == "preprocess 30/40 10.0 captions/s 0:00:01"


class Log:
    """Lines on stderr, and a clock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.now = 0.0
        self._capsys = capsys
        monkeypatch.setattr("cli.output.progress.time.monotonic", lambda: self.now)
        self.tell = LineListener("preprocess")

    def lines(self) -> list[str]:
        out, err = self._capsys.readouterr()
        assert out == ""
        return err.splitlines()


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Log:
    return Log(monkeypatch, capsys)


def test_a_log_gets_a_line_now_and_then(log: Log) -> None:
    log.tell(RunPlanned("videos", 10_000, 1000))
    log.now = 60.0  # workers start
    log.tell(ItemsDone())
    log.now += 10.0
    log.tell(ItemsDone(450, 3, 5400, 123_000_000))
    assert log.lines() == [
        "preprocess: 1,450 of 10,000 videos; 45.0 videos/s, 540 frames/s, 12.3 MB/s; 3 failed; 0:03:10 left"
    ]
    log.now += 1.0
    log.tell(ItemsDone(45))
    assert log.lines() == []


def test_lines_become_fewer_and_never_stop(log: Log) -> None:
    log.tell(RunPlanned("videos", 1_000_000, 0))
    said = []
    for second in range(3600):
        log.now = float(second)
        log.tell(ItemsDone(1))
        said += [second] * len(log.lines())
    gaps = [after - before for before, after in itertools.pairwise(said)]
    assert said[0] == 10
    assert gaps == sorted(gaps)
    assert max(gaps) == 300


def test_a_short_run_has_no_line(log: Log) -> None:
    for plan in (RunPlanned("videos", 3, 0), RunPlanned("captions", 6, 0)):
        log.tell(plan)
        log.now += 9.0
        log.tell(ItemsDone(3))
    assert log.lines() == []


def test_steps_epochs_and_messages_in_a_log(log: Log) -> None:
    log.tell(RunPlanned("steps", 100, 0))
    log.tell(ItemsDone())
    log.now = 20.0
    log.tell(StepDone(1, 0.5, 1e-3, 8))
    log.tell(EvaluationDone(1, 1, 5, 20, 2.5, 40.0, 40.0, is_best=True))
    log.tell(Message("nothing to do"))
    assert log.lines() == [
        "preprocess: 1 of 100 steps; 0.1 steps/s; epoch 1, loss 0.500; 0:33:00 left",
        "epoch 1 of 5, step 20: mean loss 2.5000, validation R@1 40.0",
        "nothing to do",
    ]


def test_nothing_where_nothing_is_wanted_and_lines_where_nobody_looks(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_listener("preprocess", False) as listener:
        listener(RunPlanned("videos", 3, 0))
        listener(ItemsDone(3))
    assert capsys.readouterr() == ("", "")
    with progress_listener("preprocess", True) as listener:
        assert isinstance(listener, LineListener)  # stderr is no terminal here


def test_without_a_bar_each_epoch_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Hours of training in the log of a cluster must not pass without a word."""
    with progress_listener("finetune", False) as listener:
        listener(StepDone(1, 2.5, 1e-6, 8))
        listener(EvaluationDone(1, 1, 5, 20, 2.5, 40.0, 40.0, is_best=True))
    assert capsys.readouterr() == ("", "epoch 1 of 5, step 20: mean loss 2.5000, validation R@1 40.0\n")


def test_a_late_listener_hears_all_of_the_run_once_it_is_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("cli.output.progress.time.monotonic", lambda: now)
    heard: list[Event] = []
    late = LateListener(lambda: heard.append, after_seconds=2.0)
    late(RunPlanned("queries", 3, 0))
    late(ItemsDone(3))
    second: list[Event] = [RunPlanned("queries", 5, 0), ItemsDone(1), ItemsDone(2), ItemsDone(2)]
    for event in second[:2]:
        late(event)
    assert heard == []
    now = 2.5
    for event in second[2:]:
        late(event)
    assert heard == second  # the run before had ended: nobody need see it
