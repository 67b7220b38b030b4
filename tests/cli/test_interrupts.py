"""Signals that ask a command to end, for real, in processes of their own."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from cli import interrupts
from cli.interrupts import INTERRUPTED, SIGNALS, interruptible
from tests.forked import Forked

SENTENCE = f"\nfda: error: {INTERRUPTED}\n"


@contextmanager
def process(folder: Path, function: Callable[[Connection], None]) -> Iterator[tuple[Forked, Connection]]:
    """It tells through the connection how far it is."""
    mine, theirs = Pipe()
    with mine:
        with theirs:
            forked = Forked(function, theirs, err=folder / "err")
        try:
            yield forked, mine
        finally:
            forked.kill()


def lose_one(told: Connection) -> None:
    """A run in which Python loses the first interrupt, as it does in a finaliser, and which then goes on for ever."""
    interrupts.PATIENCE_SECONDS = 0.0
    with interruptible(1):
        try:
            told.send("ready")
            signal.pause()
        except KeyboardInterrupt:
            told.send("lost")
        while True:
            signal.pause()


def be_deaf(told: Connection) -> None:
    """What `nohup` starts, and what a shell starts in the background."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    with interruptible(1):
        for number in SIGNALS:
            os.kill(os.getpid(), number)
    sys.exit(7)


def end_slowly(told: Connection) -> None:
    """A run that takes a while to end, and is asked for it all the time."""
    with interruptible(1):
        try:
            told.send("ready")
            signal.pause()
        finally:
            for number in SIGNALS * 3:
                os.kill(os.getpid(), number)
            told.send("ended")


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_is_one_keyboard_interrupt_and_others_do_not_disturb_what_it_ends(
    tmp_path: Path, number: signal.Signals
) -> None:
    with process(tmp_path, end_slowly) as (forked, told):
        assert told.recv() == "ready"
        forked.send_signal(number)
        assert told.recv() == "ended"
        assert forked.wait(60) == 1
    assert (tmp_path / "err").read_text().count("\nKeyboardInterrupt\n") == 1


def test_a_run_that_does_not_heed_the_first_signal_is_ended_by_another_with_the_same_sentence(tmp_path: Path) -> None:
    with process(tmp_path, lose_one) as (forked, told):
        for word in ("ready", "lost"):
            assert told.recv() == word
            forked.send_signal(signal.SIGTERM)
        assert forked.wait(60) == 1
    assert (tmp_path / "err").read_text() == SENTENCE


def test_signals_that_are_ignored_at_the_start_stay_ignored(tmp_path: Path) -> None:
    with process(tmp_path, be_deaf) as (forked, _):
        assert forked.wait(60) == 7


def test_handlers_are_those_from_before_after_a_command_that_nothing_interrupted() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    with interruptible(1):
        assert [signal.getsignal(number) for number in SIGNALS] != before
    assert [signal.getsignal(number) for number in SIGNALS] == before
