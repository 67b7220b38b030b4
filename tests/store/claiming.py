"""Claims for tests: folders to claim, claims of other machines, and time that passes without waiting."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from multiprocessing.connection import Connection
from multiprocessing.context import ForkContext, ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from store.claims.holding import Claim, ClaimTimes, claimed
from store.claims.processes import ProcessId
from store.places.folder import StoreFolder
from store.places.opening import folder_at
from tests.claimants import NEVER
from tests.forked import FORK_SERVER, in_environment
from tests.s3 import Server, place_of, use_server

Context = ForkContext | ForkServerContext
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
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # threads of this process: a fork of it needs none
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
        assert self.num_sleeps < 1000, "it goes on for ever"
        self._happens()


def take(folder: StoreFolder, times: ClaimTimes = NEVER, *, wait_seconds: float | None = 0) -> list[str]:
    """Take the claim on frames and write something; return the messages."""
    messages: list[str] = []
    with claimed(folder, "fda test", ["frames"], wait_seconds=wait_seconds, say=messages.append, times=times) as mine:
        mine.write("data/x", b"1")
    return messages
