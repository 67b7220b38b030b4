"""A run holds its claim until it ends or loses it, and of several runs one writes at a time."""

from __future__ import annotations

import itertools
import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import store.claims.holding
from store.claims.claim import write_beat
from store.claims.holding import Claim, ClaimTimes, claimed, claims_on
from store.claims.processes import this_process
from store.errors import ClaimLostError, StoreMissingError, StoreWriteError
from store.places.folder import StoreFolder
from store.places.opening import folder_at
from tests.claimants import NEVER, QUICK, MemoryFolder, Turns, compete, fork_and_hold
from tests.forked import FORK_SERVER, in_environment
from tests.s3 import Server, place_of, use_server
from tests.store.claiming import Simulated, take
from tests.store.claiming import any_folder as any_folder
from tests.store.claiming import folder as folder
from tests.store.claiming import start as start


def wait_until(happens: Callable[[], bool], seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            if happens():
                return
        except StoreMissingError:
            pass
        assert time.monotonic() < end, "it does not happen"
        time.sleep(0.002)


# One run


def test_a_claim_says_who_holds_the_store_and_is_gone_afterwards(any_folder: StoreFolder) -> None:
    folder = any_folder
    with claimed(folder, "fda masks", ["masks/a", "masks/b"], partition="2/8", inputs="f00d", times=NEVER) as mine:
        (claim,) = claims_on(folder)
        assert mine.claim == claim.id
        assert (claim.command, claim.stages, claim.partition, claim.inputs) == (
            "fda masks",
            ("masks/a", "masks/b"),
            "2/8",
            "f00d",
        )
        assert claim.process == this_process()
        assert abs(datetime.now(UTC) - claim.started).days < 1
        assert str(claim).startswith("fda masks, partition 2/8 (")
        assert f"@{claim.host}, process {os.getpid()}, since {claim.started:%Y-%m-%d %H:%M}" in str(claim)
        mine.write("data/x", b"1")
    assert claims_on(folder) == ()
    assert [stored.name for stored in folder.walk()] == ["data/x"]
    assert "partial/" not in folder.folders("")


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_claim_is_given_back_whatever_ends_the_run(any_folder: StoreFolder, error: type[BaseException]) -> None:
    folder = any_folder
    with pytest.raises(error), claimed(folder, "fda masks", ["frames"], times=NEVER):
        raise error
    assert [*folder.walk()] == []


def test_a_forked_process_does_not_give_the_claim_back(
    folder: StoreFolder, start: Callable[..., tuple[BaseProcess, Connection]]
) -> None:
    _, channel = start(fork_and_hold, folder.place)
    assert channel.recv() is True


HALF = f"{0:032x}"
"""Name of a partial file."""


def test_what_dead_runs_left_half_written_is_removed_and_what_live_ones_write_is_not(tmp_path: Path) -> None:
    folder = folder_at(str(tmp_path))
    with claimed(folder, "fda masks", ["masks/a"], times=NEVER) as other:
        for run in (other.claim, "0" * 32):
            (tmp_path / "partial" / str(run)).mkdir(parents=True, exist_ok=True)
            (tmp_path / "partial" / str(run) / HALF).write_bytes(b"half")
        with claimed(folder, "fda test", ["frames"], times=NEVER):
            assert [path.parent.name for path in tmp_path.rglob(HALF)] == [other.claim]


def test_the_holder_beats_until_it_ends(folder: StoreFolder) -> None:
    with claimed(folder, "fda masks", ["frames"], times=QUICK) as mine:
        for number in (b"1\n", b"2\n"):
            wait_until(lambda number=number: folder.read(f"claims/{mine.claim}.beat") >= number)  # type: ignore[misc]
    assert [*folder.walk()] == []


def test_beats_that_cannot_be_written_are_tried_again_and_told_once(
    folder: StoreFolder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tried: list[int] = []

    def fails(folder: StoreFolder, claim_id: str, number: int) -> None:
        tried.append(number)
        if number in (2, 3, 4):
            raise StoreWriteError("no space left on the disk")
        write_beat(folder, claim_id, number)

    monkeypatch.setattr(store.claims.holding, "write_beat", fails)
    with caplog.at_level(logging.WARNING), claimed(folder, "fda masks", ["frames"], times=QUICK) as mine:
        wait_until(lambda: len(tried) > 7)
        mine.write("data/x", b"1")
    assert [record.message for record in caplog.records] == [
        f"cannot renew the claim on {folder.place}, trying again: no space left on the disk"
    ]


def test_a_holder_whose_claim_was_removed_writes_no_more(any_folder: StoreFolder) -> None:
    folder = any_folder
    with claimed(folder, "fda masks", ["frames"], times=QUICK) as mine:
        folder.remove(f"claims/{mine.claim}.json")
        wait_until(lambda: "fda-claim" not in [thread.name for thread in threading.enumerate()])  # its heart stops
        with pytest.raises(ClaimLostError, match=f"lost its claim on {folder.place}"):
            mine.write("data/x", b"1")
        with pytest.raises(ClaimLostError):
            mine.remove("data/x")
    assert [*folder.walk()] == []


def test_a_run_that_was_taken_for_dead_while_it_asked_asks_anew(
    folder: StoreFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def stops_first(folder: StoreFolder, claim_id: str, number: int) -> None:
        asked.append(claim_id)
        if len(asked) == 1:
            folder.claimed_by(None).remove(f"claims/{claim_id}.json")
        write_beat(folder, claim_id, number)

    monkeypatch.setattr(store.claims.holding, "write_beat", stops_first)
    with claimed(folder, "fda masks", ["frames"], times=Simulated().times) as mine:
        mine.write("data/x", b"1")
        assert asked == [asked[0], mine.claim]
        assert asked[0] != mine.claim
    assert [stored.name for stored in folder.walk()] == ["data/x"]


def test_a_write_that_began_before_the_take_over_does_not_end_after_it(
    folder: StoreFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.write("data/x", b"before")
    with claimed(folder, "fda masks", ["frames"], times=NEVER) as mine:
        fsync = os.fsync

        def taken_over(descriptor: int) -> None:
            monkeypatch.setattr(os, "fsync", fsync)
            folder.remove(f"claims/{mine.claim}.json")
            take(folder)

        monkeypatch.setattr(os, "fsync", taken_over)
        with pytest.raises(ClaimLostError):
            mine.write("data/x", b"after")
    assert folder.read("data/x") == b"1"


# Two runs


@pytest.mark.parametrize(
    ("machines", "num_rounds"),
    [
        # two that look each other up, and two that watch each other's and those two's beats
        pytest.param([None, None, "a machine", "a machine"], 30, id="local"),
        pytest.param([None, "a machine"], 5, id="objects"),
    ],
)
def test_processes_are_never_inside_at_once(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    server: Server,
    machines: Sequence[str | None],
    num_rounds: int,
) -> None:
    use_server(monkeypatch, server)
    folder = folder_at(str(tmp_path / "store") if len(machines) == 4 else f"{place_of(request)}/store")
    arguments = (folder.place, tmp_path / "inside", num_rounds)
    environment = dict(os.environ)
    running = [
        FORK_SERVER.Process(target=in_environment, args=(environment, compete, *arguments, machine))
        for machine in machines
    ]
    for process in running:
        process.start()
    for process in running:
        process.join()
    assert [process.exitcode for process in running] == [0] * len(machines)
    assert folder.read("count") == b"%d" % (num_rounds * len(machines))
    assert [stored.name for stored in folder.walk()] == ["count"]


def in_every_order(
    order: Sequence[int], ids: Sequence[str], *, are_watched: bool, num_runs: int = 2
) -> tuple[list[str | None], dict[str, bytes]]:
    """Runs that step through claiming, three writes each and ending in a given order.

    Returns:
        The claim under which each write was done, with None where one was refused, and what files are left.
    """
    files: dict[str, bytes] = {}
    ever: set[str] = set()
    writes: list[str | None] = []
    clock = itertools.count()
    new_ids = iter(ids)

    def run(step: Callable[[], None]) -> None:
        times = ClaimTimes(
            beat_seconds=1e6,
            lease_seconds=6.0 if are_watched else 1e9,
            poll_seconds=1.0,
            clock=lambda: float(next(clock)),
            sleep=lambda seconds: step(),
        )
        folder = MemoryFolder(files, ever, step)
        try:
            with claimed(folder, "fda masks", ["frames"], wait_seconds=None, times=times) as mine:
                for _ in range(3):
                    mine.write("data/x", b"1")
                    writes.append(mine.claim)
        except ClaimLostError:
            writes.append(None)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Claim, "new_id", staticmethod(lambda: next(new_ids)))
        if are_watched:  # as runs of other machines, of which each stop is taken for death after a few looks
            patch.setattr(store.claims.holding, "is_running", lambda process: None)
        Turns([run] * num_runs).run(order)
    return writes, files


RISING = [f"{number:032x}" for number in range(1, 2000)]
FALLING = RISING[::-1]


def check_never_mixed(writes: Sequence[str | None], files: dict[str, bytes]) -> None:
    """One claim's writes are over before those of the next begin."""
    holders = [claim_id for claim_id, _ in itertools.groupby(one for one in writes if one is not None)]
    assert len(holders) == len(set(holders))
    assert set(files) == {"data/x"}


@pytest.mark.parametrize("ids", [RISING, FALLING], ids=["the first is preferred", "the last is preferred"])
def test_one_of_two_runs_holds_wherever_they_are_interrupted(ids: list[str]) -> None:
    for looks, first, second in itertools.product((0, 2, 3), range(1, 13), range(1, 13)):
        writes, files = in_every_order([1] * looks + [0] * first + [1] * second, ids, are_watched=False)
        check_never_mixed(writes, files)
        assert len(writes) == 6
        assert None not in writes


@pytest.mark.parametrize("ids", [RISING, FALLING], ids=["the first is preferred", "the last is preferred"])
def test_a_run_that_stops_anywhere_for_long_loses_its_claim_and_mixes_with_none(ids: list[str]) -> None:
    all_writes = []
    for first, second in itertools.product(range(24), (15, 40, 90)):
        writes, files = in_every_order([0] * first + [1] * second + [0] * 90, ids, are_watched=True)
        check_never_mixed(writes, files)
        all_writes += writes
    assert None in all_writes  # it was refused


@settings(max_examples=60)
@given(order=st.lists(st.integers(0, 2), max_size=120), are_watched=st.booleans(), rises=st.booleans())
def test_three_runs_in_any_order(order: list[int], are_watched: bool, rises: bool) -> None:
    check_never_mixed(*in_every_order(order, RISING if rises else FALLING, are_watched=are_watched, num_runs=3))
