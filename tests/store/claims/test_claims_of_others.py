"""A store that another run has claimed: refused, waited for, shared, or taken over from a dead run."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from contextlib import ExitStack
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

import pytest

from store.claims.claim import write_beat, write_claim
from store.claims.holding import ANY_STAGE, Claim, claimed, claims_on
from store.claims.processes import this_process
from store.errors import StoreBusyError, StoreError
from store.places.folder import StoreFolder
from tests.claimants import NEVER, QUICK, hold
from tests.store.claiming import Simulated, claim_of, take
from tests.store.claiming import any_folder as any_folder
from tests.store.claiming import folder as folder
from tests.store.claiming import start as start

FORK = multiprocessing.get_context("fork")
"""Whose processes are children of this one: it waits for them, and nobody else does."""


# A run of the same machine


def test_a_second_run_is_refused_and_told_who_holds_the_store(any_folder: StoreFolder) -> None:
    folder = any_folder
    with claimed(folder, "fda masks", ["frames"], times=NEVER):
        (claim,) = claims_on(folder)
        with pytest.raises(StoreBusyError) as caught:
            take(folder)
        assert claims_on(folder) == (claim,)
    assert str(caught.value) == (
        f"{folder.place} is being written to by {claim}; both write the same stages. Give --wait to begin when it has "
        "ended. The claim of a run that was killed expires by itself (after 1e+09 s without a sign of life, if it ran "
        "on another machine)"
    )
    assert isinstance(caught.value, StoreError)
    take(folder)


def test_a_second_run_waits_if_it_is_to(any_folder: StoreFolder) -> None:
    folder = any_folder
    stack = ExitStack()
    stack.enter_context(claimed(folder, "fda masks", ["frames"], times=NEVER))
    (claim,) = claims_on(folder)
    waiting = Simulated(lambda: stack.close() if waiting.num_sleeps == 20 else None)
    messages = take(folder, waiting.times, wait_seconds=None)
    assert messages == [f"waiting for {claim}, which is writing into {folder.place}"]


def test_a_second_run_waits_as_long_as_it_is_to(folder: StoreFolder) -> None:
    with claimed(folder, "fda masks", ["frames"], times=NEVER):
        waiting = Simulated()
        with pytest.raises(StoreBusyError):
            take(folder, waiting.times, wait_seconds=60)
        assert 60 <= waiting.now < 62


def test_runs_that_make_other_things_hold_at_once(folder: StoreFolder) -> None:
    with claimed(folder, "fda masks", ["masks/a"], times=NEVER) as one, claimed(folder, "e", ["frames"], times=NEVER):
        one.write("data/x", b"1")
        assert len(claims_on(folder)) == 2
        with pytest.raises(StoreBusyError), claimed(folder, "fda finalise", [ANY_STAGE], times=NEVER):
            pass


def test_parts_of_one_job_hold_at_once_and_another_job_is_told_why_not(any_folder: StoreFolder) -> None:
    folder = any_folder

    def part(partition: str | None, inputs: str = "same") -> None:
        with claimed(folder, "fda encode", ["frames"], partition=partition, inputs=inputs, times=NEVER):
            assert len(claims_on(folder)) == 2

    with claimed(folder, "fda encode", ["frames"], partition="1/3", inputs="same", times=NEVER):
        part("2/3")
        for partition, inputs, reason in [
            ("1/3", "same", "both are partition 1/3"),
            ("2/4", "same", "partition 2/4 of this run and 1/3 of that one overlap: use the same n for all"),
            ("2/3", "other", "not of the same job"),
            (None, "same", "both write the same stages"),
        ]:
            with pytest.raises(StoreBusyError, match=reason):
                part(partition, inputs)


def test_a_run_that_asks_without_end_is_taken_for_a_holder(folder: StoreFolder) -> None:
    write_claim(folder, claim_of(process=this_process()))  # as one that could not be given back
    watching = Simulated()
    with pytest.raises(StoreBusyError):
        take(folder, watching.times)
    assert 30 <= watching.now < 32


def test_a_killed_run_of_this_machine_is_taken_over_at_once(
    folder: StoreFolder, start: Callable[..., tuple[BaseProcess, Connection]]
) -> None:
    process, channel = start(hold, folder.place, None, context=FORK)
    assert channel.recv() == "holds"
    with pytest.raises(StoreBusyError):
        take(folder)
    (claim,) = claims_on(folder)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and is a zombie
    assert take(folder, Simulated().times) == [f"{claim} has ended: its claim on {folder.place} is removed"]
    assert sorted(stored.name for stored in folder.walk()) == ["data/holder", "data/x"]


# A run of another machine


def test_a_run_of_another_machine_that_beats_is_not_disturbed(any_folder: StoreFolder) -> None:
    folder = any_folder
    claim = claim_of()
    write_claim(folder, claim)
    write_beat(folder, claim.id, 0)
    elsewhere = Simulated(lambda: write_beat(folder, claim.id, elsewhere.num_sleeps) if elsewhere.now > 20 else None)
    messages: list[str] = []
    with (
        pytest.raises(StoreBusyError, match=r"fda masks \(ada@node7, process 4242, since "),
        claimed(folder, "fda test", ["frames"], say=messages.append, times=elsewhere.times),
    ):
        pass
    assert 20 < elsewhere.now < 23
    assert messages == [
        f"{folder.place} is claimed by {claim}: watching it for up to 30 s to see whether it is still active"
    ]
    assert claims_on(folder) == (claim,)


def test_a_run_of_another_machine_that_is_silent_is_taken_over(any_folder: StoreFolder) -> None:
    claim = claim_of()
    write_claim(any_folder, claim)
    write_beat(any_folder, claim.id, 17)
    check_taken_over(any_folder, claim)


def test_a_run_of_another_machine_that_asked_and_is_silent_is_taken_over(folder: StoreFolder) -> None:
    claim = claim_of()
    write_claim(folder, claim)
    check_taken_over(folder, claim)


def check_taken_over(folder: StoreFolder, claim: Claim) -> None:
    watching = Simulated()
    messages = take(folder, watching.times)
    assert messages[-1] == f"{claim} has ended: its claim on {folder.place} is removed"
    assert 30 <= watching.now < 32
    assert [stored.name for stored in folder.walk()] == ["data/x"]


def test_while_the_watcher_stood_still_the_other_was_not_silent(folder: StoreFolder) -> None:
    write_claim(folder, claim_of())
    watching = Simulated(seconds=3600)  # each look, of a second, takes an hour
    take(folder, watching.times)
    assert watching.num_sleeps == 15


def test_a_run_of_another_machine_that_dies_while_it_is_waited_for_is_taken_over(folder: StoreFolder) -> None:
    claim = claim_of()
    write_claim(folder, claim)
    elsewhere = Simulated(lambda: write_beat(folder, claim.id, int(elsewhere.now / 5)) if elsewhere.now < 100 else None)
    take(folder, elsewhere.times, wait_seconds=None)
    assert 124 <= elsewhere.now < 133


def test_a_run_that_was_stopped_and_taken_for_dead_writes_no_more(
    folder: StoreFolder, start: Callable[..., tuple[BaseProcess, Connection]]
) -> None:
    process, channel = start(hold, folder.place, "another machine", context=FORK)
    assert channel.recv() == "holds"
    assert process.pid is not None
    os.kill(process.pid, signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED)  # until then a thread may end a write, such as that of a heartbeat
    with claimed(folder, "fda test", ["frames"], times=QUICK) as mine:
        before = folder.read("data/holder")
        os.kill(process.pid, signal.SIGCONT)
        assert "lost its claim" in str(channel.recv())
        process.join()
        assert folder.read("data/holder") == before
        mine.write("data/x", b"1")
        assert [claim.id for claim in claims_on(folder)] == [mine.claim]
    assert sorted(stored.name for stored in folder.walk()) == ["data/holder", "data/x"]


def test_the_last_beat_of_a_run_whose_claim_was_removed_is_swept_up(any_folder: StoreFolder) -> None:
    folder = any_folder
    write_beat(folder, "0" * 32, 9)
    folder.write("claims/notes.txt", b"not ours")
    take(folder)
    assert folder.names("claims") == ["claims/notes.txt"]
