"""Signals that ask a command to end, for real, in processes of their own."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

import fda
from cli import going_on, interrupts
from cli.going_on import how_to_go_on
from cli.interrupts import SIGNALS, interruptible
from cli.main import COMMANDS, main
from cli.main import fda as group
from store.growth import create_store
from tests.forked import Forked
from tests.stores import fill_shard, fill_store, make_catalog, make_manifest, make_store

SENTENCE = "interrupted: run it again"


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
    with interruptible(1, lambda: SENTENCE):
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
    with interruptible(1, lambda: SENTENCE):
        for number in SIGNALS:
            os.kill(os.getpid(), number)
    sys.exit(7)


def end_slowly(told: Connection) -> None:
    """A run that takes a while to end, and is asked for it all the time."""
    with interruptible(1, lambda: SENTENCE):
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
    assert (tmp_path / "err").read_text() == f"\nfda: error: {SENTENCE}\n"


def test_signals_that_are_ignored_at_the_start_stay_ignored(tmp_path: Path) -> None:
    with process(tmp_path, be_deaf) as (forked, _):
        assert forked.wait(60) == 7


def test_handlers_are_those_from_before_after_a_command_that_nothing_interrupted() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    with interruptible(1, lambda: SENTENCE):
        assert [signal.getsignal(number) for number in SIGNALS] != before
    assert [signal.getsignal(number) for number in SIGNALS] == before


HANG = {
    "preprocess": "preprocess",
    "masks": "make_masks",
    "encode": "encode",
    "import-features": "import_features",
    "finetune": "finetune",
    "status": "status",
    "verify": "verify",
    "remove": "remove",
    "export": "export",
}
"""Command -> the function that it calls: here one that never ends."""


def be_a_command_that_hangs(told: Connection, words: list[str]) -> None:
    def hang(*arguments: object, **options: object) -> None:
        told.send("ready")
        while True:
            signal.pause()

    setattr(fda, HANG[words[0]], hang)
    sys.argv = ["fda", *words]
    main()


NONE = "none of 6 videos is kept in a store; to resume"
UNCHANGED = "the store is as it was; to run it again"
MODEL = ["--model", "ViT-B-32-quickgelu", "--pretrained", "openai"]


@pytest.mark.parametrize(
    ("words", "said", "again"),
    [
        (
            ["preprocess", __file__, "a store", "--partition", "3/8"],
            "4 of 6 videos are kept in a store; to resume with part 3/8",
            None,
        ),
        (["masks", "a store", "--masks", "low", "--overwrite"], f"{NONE}, without --overwrite, which would", 2),
        (
            ["finetune", "a store", "CHECKPOINT", "--preset", "demo"],
            "CHECKPOINT keeps the last saved state of the training, and the best weights so far; to resume",
            None,
        ),
        (["encode", "a store", "--features", "mine", *MODEL], NONE, None),
        (["import-features", "a store", "--features", "f", "--text", __file__, "--video", __file__], NONE, None),
        (["status", "a store"], UNCHANGED, None),
        (["verify", "a store"], UNCHANGED, None),
        (["verify", "a store", "--repair"], "every file is as it was, or repaired; to resume", None),
        (["remove", "a store", "--masks", "low", "--yes"], "what is removed stays removed, and a set that", None),
        (
            ["export", "a store", "an export", "--format", "parquet", "--overwrite"],
            "nothing is kept, and what was at an export is as it was; to run it again",
            None,
        ),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_ctrl_c_names_what_is_kept_and_the_line_that_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], said: str, again: int | None
) -> None:
    monkeypatch.chdir(tmp_path)
    store = make_store("a store", 6)
    fill_shard(store, store.shards("test")[0])
    Path("CHECKPOINT").mkdir()
    with process(tmp_path, partial(be_a_command_that_hangs, words=words)) as (forked, told):
        assert told.recv() == "ready"
        forked.send_signal(signal.SIGINT)
        assert forked.wait(60) == 1
    *_, message, line = (tmp_path / "err").read_text().splitlines()
    assert message.startswith(f"fda: error: interrupted: {said}")
    assert message.endswith(":")
    kept = words if again is None else words[:-1]
    assert line == f"  {shlex.join(['fda', *kept])}"


def test_ctrl_c_before_anything_is_written_keeps_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["preprocess", "clips.jsonl", "store"]
    line = f"to resume:\n  fda {shlex.join(words)}"
    assert how_to_go_on(group, words) == f"interrupted: nothing is written yet; {line}"
    Path("store").mkdir()
    assert how_to_go_on(group, words) == f"interrupted: nothing is written yet; {line}"
    store = make_store("store", 5)
    assert how_to_go_on(group, words) == f"interrupted: none of 5 videos is kept in store; {line}"
    fill_store(store)
    grown = create_store(store.folder, make_manifest(6, digest="e" * 64), make_catalog(6))[0]
    assert grown.shards("test")[-1].num_rows == 2
    assert how_to_go_on(group, words) == f"interrupted: 5 of 6 videos are kept in store; {line}"
    bucket = "s3://bucket/store"
    assert f"committed in {bucket} are kept" in how_to_go_on(group, [*words[:-1], bucket])


def test_every_command_says_what_an_interrupt_leaves() -> None:
    assert set(going_on._KEPT) == set(COMMANDS)


def test_a_line_that_cannot_be_understood_is_told_all_the_same() -> None:
    told = "interrupted: run the same command again\n  fda "
    assert how_to_go_on(group, []) == told
    assert how_to_go_on(group, ["no-such-command", "x y"]) == f"{told}no-such-command 'x y'"
