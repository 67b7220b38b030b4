"""Who may write into a store: one run at a time, or several of which none touches what another makes."""

from __future__ import annotations

import errno
import itertools
import json
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import store.claims.holding
from store.claims import processes
from store.claims.claim import why_excluded, write_beat, write_claim
from store.claims.holding import ANY_STAGE, Claim, ClaimTimes, claimed, claims_on
from store.claims.processes import ProcessId, is_running, this_process
from store.errors import ClaimLostError, StoreBusyError, StoreError, StoreMissingError, StoreWriteError
from store.json_values import JSON
from store.places.folder import StoreFolder
from store.places.opening import folder_at
from tests.claimants import NEVER, QUICK, MemoryFolder, Turns, compete, fork_and_hold, hold
from tests.forked import FORK_SERVER, in_environment
from tests.s3 import Server, place_of, use_server

SPAWN = multiprocessing.get_context("spawn")
Context = SpawnContext | ForkServerContext
ELSEWHERE = ProcessId(4242, 1, "another machine")


@pytest.fixture
def folder(tmp_path: Path) -> StoreFolder:
    return folder_at(str(tmp_path / "store"))


@pytest.fixture(params=["local", "objects"])
def any_folder(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: Server
) -> StoreFolder:
    """The same, and one in an object store."""
    use_server(monkeypatch, server)
    return folder_at(str(tmp_path / "store") if request.param == "local" else f"{place_of(request)}/store")


@pytest.fixture
def start() -> Iterator[Callable[..., tuple[BaseProcess, Connection]]]:
    """Starts a process of `tests.claimants`, with a channel to it; none outlives the test."""
    started: list[BaseProcess] = []

    def start_one(
        target: Callable[..., None], place: str, *arguments: object, context: Context = FORK_SERVER
    ) -> tuple[BaseProcess, Connection]:
        here, there = context.Pipe()
        process = context.Process(target=in_environment, args=(dict(os.environ), target, place, there, *arguments))
        process.start()
        there.close()
        started.append(process)
        return process, here

    yield start_one
    for process in started:
        process.kill()
        process.join()
        process.close()


def claim_of(stages: Sequence[str] = ("frames",), **fields: object) -> Claim:
    """The claim of a run on another machine."""
    claim = Claim.of_this_process("fda masks", stages, None, "")
    return replace(claim, **{"process": ELSEWHERE, "user": "ada", "host": "node7", **fields})  # type: ignore[arg-type]


class Simulated:
    """Times without waiting: each sleep takes as long as it says, and something may happen in it."""

    def __init__(self, happens: Callable[[], None] = lambda: None, *, seconds: float | None = None) -> None:
        self._happens = happens
        self._seconds = seconds
        self.now = 0.0
        self.num_sleeps = 0
        self.times = ClaimTimes(clock=lambda: self.now, sleep=self._sleep)

    def _sleep(self, seconds: float) -> None:
        self.now += seconds if self._seconds is None else self._seconds
        self.num_sleeps += 1
        assert self.num_sleeps < 10_000, "it goes on for ever"
        self._happens()


def take(folder: StoreFolder, times: ClaimTimes = NEVER, *, wait_seconds: float | None = 0) -> list[str]:
    """Take the claim on frames and write something; return the messages."""
    messages: list[str] = []
    with claimed(folder, "fda test", ["frames"], wait_seconds=wait_seconds, say=messages.append, times=times) as mine:
        mine.write("data/x", b"1")
    return messages


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


def test_what_dead_runs_left_half_written_is_removed_and_what_live_ones_write_is_not(tmp_path: Path) -> None:
    folder = folder_at(str(tmp_path))
    with claimed(folder, "fda masks", ["masks/a"], times=NEVER) as other:
        for run in (other.claim, "0" * 32):
            (tmp_path / "partial" / str(run)).mkdir(parents=True, exist_ok=True)
            (tmp_path / "partial" / str(run) / "half").write_bytes(b"half")
        with claimed(folder, "fda test", ["frames"], times=NEVER):
            assert [path.parent.name for path in tmp_path.rglob("half")] == [other.claim]


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
    with claimed(folder, "fda masks", ["frames"], times=NEVER) as mine:
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
    process, channel = start(hold, folder.place, None, context=SPAWN)  # a child of this process: nobody else reaps it
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


@pytest.mark.parametrize("is_held", [True, False], ids=["at work", "asking"])
def test_a_run_of_another_machine_that_is_silent_is_taken_over(any_folder: StoreFolder, is_held: bool) -> None:
    folder = any_folder
    claim = claim_of()
    write_claim(folder, claim)
    if is_held:
        write_beat(folder, claim.id, 17)
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
    process, channel = start(hold, folder.place, "another machine")
    assert channel.recv() == "holds"
    assert process.pid is not None
    os.kill(process.pid, signal.SIGSTOP)
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


# Files that are not as they should be


def not_claims() -> Iterator[tuple[str, bytes]]:
    fields = claim_of().to_dict()
    yield "empty", b""
    yield "cut off", json.dumps(fields).encode()[:-9]
    yield "not text", b"\xff" * 20
    yield "a list", b"[]"
    yield "deep", b"[" * 10_000
    yield "large", b" " * 20_000
    yield "another's", json.dumps(fields).encode()
    changes: list[dict[str, JSON]] = [
        {"pid": "1"},
        {"pid": -1},
        {"stages": []},
        {"stages": "a"},
        {"user": "\x1b[2J"},
        {"started": "now"},
    ]
    for change in changes:
        yield str(change), json.dumps({**fields, "id": "a" * 32, **change}).encode()


@pytest.mark.parametrize("content", [pytest.param(content, id=name) for name, content in not_claims()])
def test_a_damaged_claim_is_named_and_respected_until_it_has_been_silent(folder: StoreFolder, content: bytes) -> None:
    folder.write(f"claims/{'a' * 32}.json", content)
    (claim,) = claims_on(folder)
    assert claim.is_damaged
    assert str(claim) == f"an unknown run, as its claim claims/{'a' * 32}.json is damaged"
    beating = Simulated(lambda: write_beat(folder, "a" * 32, beating.num_sleeps))
    with pytest.raises(StoreBusyError, match="an unknown run"):
        take(folder, beating.times)
    watching = Simulated()
    take(folder, watching.times)
    assert 30 <= watching.now < 32
    assert claims_on(folder) == ()


def test_a_claim_that_may_not_be_read_is_not_taken_for_dead(
    folder: StoreFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_claim(folder, claim_of())

    def refuses(path: Path) -> bytes:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refuses)
    with pytest.raises(PermissionError, match=r"claims/[0-9a-f]{32}\.json"):
        take(folder, Simulated().times)
    assert len(folder.names("claims")) == 1


def test_a_store_that_cannot_be_written_to_is_not_claimed(
    folder: StoreFolder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def read_only(path: Path, target: Path) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "replace", read_only)
    with pytest.raises(StoreWriteError, match=r"cannot write claims/.*Read-only file system"):
        take(folder)
    assert [*folder.walk()] == []
    assert caplog.records == []


def test_a_claim_that_cannot_be_given_back_is_told_of_and_hides_no_error(
    folder: StoreFolder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def read_only(path: Path, missing_ok: bool = False) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    with pytest.raises(ZeroDivisionError), claimed(folder, "fda masks", ["frames"], times=NEVER):  # noqa: PT012
        monkeypatch.setattr(Path, "unlink", read_only)
        raise ZeroDivisionError
    assert "the claim of this run stays until the next run finds that this one has ended" in caplog.text


def test_where_the_claims_should_be_there_is_a_file(folder: StoreFolder) -> None:
    folder.write("claims", b"")
    with pytest.raises(StoreWriteError, match="cannot write claims/"):
        take(folder)


# Claims as values

STAGES = st.lists(st.sampled_from(["frames", "masks/a", ANY_STAGE]), min_size=1, max_size=2)
PARTITIONS = st.sampled_from([None, "1/2", "2/2", "01/2", "1/3"])
CLAIMS = st.builds(
    lambda stages, partition, inputs, command: claim_of(stages, partition=partition, inputs=inputs, command=command),
    STAGES,
    PARTITIONS,
    st.sampled_from(["", "f00d"]),
    st.sampled_from(["fda masks", "fda encode"]),
)


@given(CLAIMS, CLAIMS)
def test_who_excludes_whom(one: Claim, other: Claim) -> None:
    is_excluded = why_excluded(one, other) is not None
    assert is_excluded == (why_excluded(other, one) is not None)
    overlaps = ANY_STAGE in one.stages + other.stages or bool({*one.stages} & {*other.stages})
    same_job = (one.command, {*one.stages}, one.inputs) == (other.command, {*other.stages}, other.inputs)
    assert is_excluded or not overlaps or (same_job and {one.partition, other.partition} in PARTS_OF_TWO)
    assert not is_excluded or overlaps
    assert why_excluded(one, one) is not None


PARTS_OF_TWO = [{"1/2", "2/2"}, {"01/2", "2/2"}]


@given(CLAIMS)
def test_a_claim_is_what_its_file_says(claim: Claim) -> None:
    assert Claim.from_dict(json.loads(json.dumps(claim.to_dict()))) == claim


@pytest.mark.parametrize("partition", ["", "1", "a/b", "1/2/3", "-1/2"])
def test_a_partition_is_one_part_of_several(partition: str) -> None:
    with pytest.raises(ValueError, match=f"partition {partition!r}: write i/n"):
        claim_of(partition=partition)


# Processes


def test_a_process_is_running_until_it_has_ended() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    start_of_child = int(Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[19])
    process = ProcessId(child.pid, start_of_child, processes.this_machine())
    assert is_running(process) is True
    assert is_running(replace(process, started=start_of_child - 1)) is False  # an earlier one of the same number
    assert is_running(replace(process, machine="another")) is None
    assert is_running(replace(process, machine="")) is None
    os.kill(child.pid, signal.SIGSTOP)
    assert is_running(process) is True
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert is_running(process) is False
    child.communicate()
    assert is_running(process) is False


def test_a_process_of_another_user_that_may_not_be_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(pid: int, number: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", refuses)
    assert is_running(this_process()) is True
    hidden = replace(this_process(), pid=2**30)  # /proc does not show it, and yet there is one
    assert is_running(hidden) is None


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
