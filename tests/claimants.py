"""Runs that compete for one store: as processes, and as threads that take steps in a given order."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NoReturn
from unittest import mock

from store.claims import processes
from store.claims.holding import ClaimTimes, claimed
from store.errors import ClaimLostError, StoreMissingError
from store.places.folder import OpenFile, Scan, StoredFile, StoreFolder, WrittenFile
from store.places.opening import folder_at

QUICK = ClaimTimes(beat_seconds=0.02, lease_seconds=0.5, poll_seconds=0.02)
PATIENT = replace(QUICK, lease_seconds=600)


def _must_not_wait(seconds: float) -> None:
    raise AssertionError("it waits, where nobody would end its wait")


NEVER = ClaimTimes(beat_seconds=1e6, lease_seconds=1e9, poll_seconds=0.02, sleep=_must_not_wait)
"""Nobody beats, and nobody is taken for dead for being silent; nor waits, as that would be for ever."""


def compete(place: str, inside: Path, num_rounds: int, machine: str | None) -> None:
    """Take the claim again and again, and fail where the file `inside` says that another process is inside as well."""
    with mock.patch.object(processes, "this_machine", return_value=machine or processes.this_machine()):
        for _ in range(num_rounds):
            with claimed(folder_at(place), "compete", ["frames"], wait_seconds=None, times=PATIENT) as folder:
                os.close(os.open(inside, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
                count = int(folder.read("count")) if folder.num_bytes("count") is not None else 0
                folder.write("count", b"%d" % (count + 1))
                inside.unlink()


def hold(place: str, channel: Connection, machine: str | None) -> None:
    """Take the claim, say so, and write the time again and again until it is lost or something is received."""
    with mock.patch.object(processes, "this_machine", return_value=machine or processes.this_machine()):
        try:
            with claimed(folder_at(place), "hold", ["frames"], times=QUICK) as folder:
                folder.write("data/holder", b"0")
                channel.send("holds")
                while not channel.poll(0.001):
                    folder.write("data/holder", str(time.monotonic()).encode())
            channel.send("done")
        except ClaimLostError as error:
            channel.send(error)


def fork_and_hold(place: str, channel: Connection) -> None:
    """Take the claim, fork a process that leaves the block, and say what is left of the claim then."""
    folder = folder_at(place)
    parent = os.getpid()
    try:
        with claimed(folder, "hold", ["frames"], times=QUICK):
            before = folder.names("claims")
            if os.fork() == 0:
                raise SystemExit
            os.wait()
            channel.send(before == folder.names("claims"))
    finally:
        if os.getpid() != parent:
            os._exit(0)


class Turns:
    """Threads of which one runs at a time, and each up to its next step."""

    def __init__(self, actors: Sequence[Callable[[Callable[[], None]], None]]) -> None:
        self._parked = threading.Semaphore(0)
        self._go = [threading.Semaphore(0) for _ in actors]
        self._has_ended = [False for _ in actors]
        self._errors: list[BaseException] = []
        self._threads = [
            threading.Thread(target=self._run, args=(one, actor), daemon=True)  # if one is stuck, the others end
            for one, actor in enumerate(actors)
        ]

    def run(self, order: Sequence[int], most: int = 3000) -> None:
        """Take the turns as `order` says, then each in turn, until all have ended; the first error is raised."""
        for thread in self._threads:
            thread.start()
            self._parked.acquire()
        turn = 0
        while not all(self._has_ended):
            one = order[turn] if turn < len(order) else turn % len(self._threads)
            turn += 1
            if not self._has_ended[one]:
                self._go[one].release()
                self._parked.acquire()
            assert turn < most, "they keep each other from getting on"
        for thread in self._threads:
            thread.join()
        for error in self._errors:
            raise error

    def _run(self, one: int, actor: Callable[[Callable[[], None]], None]) -> None:
        def step() -> None:
            self._parked.release()
            self._go[one].acquire()

        step()
        try:
            actor(step)
        except BaseException as error:  # raised in `run`
            self._errors.append(error)
        self._has_ended[one] = True
        self._parked.release()


class MemoryFolder(StoreFolder):
    """Files in a dict, which threads share; each call waits for its turn first."""

    def __init__(
        self, files: dict[str, bytes], ever: set[str], step: Callable[[], None], claim: str | None = None
    ) -> None:
        self._files = files
        self._ever = ever
        self._step = step
        self._claim = claim

    place = "memory"
    is_local = True

    @property
    def claim(self) -> str | None:
        return self._claim

    def claimed_by(self, claim: str | None) -> MemoryFolder:
        return MemoryFolder(self._files, self._ever, self._step, claim)

    def write(self, name: str, content: bytes | memoryview) -> WrittenFile:
        self._check()
        if name.endswith(".json"):
            assert name not in self._ever, "a claim is written once: what was removed does not come back"
            self._ever.add(name)
        self._files[name] = bytes(content)
        return WrittenFile(name, len(content), "")

    def read(self, name: str) -> bytes:
        self._step()
        if name not in self._files:
            raise StoreMissingError(name)
        return self._files[name]

    def num_bytes(self, name: str) -> int | None:
        self._step()
        return len(self._files[name]) if name in self._files else None

    def remove(self, name: str) -> None:
        self._check()
        self._files.pop(name, None)

    def names(self, folder: str) -> list[str]:
        self._step()
        return sorted(name for name in self._files if name.rpartition("/")[0] == folder)

    def remove_partial_files(self) -> list[str]:
        self._step()
        return []

    def _check(self) -> None:
        self._step()
        if self._claim is not None and f"claims/{self._claim}.json" not in self._files:
            raise ClaimLostError.of(self.place)

    def open(self, name: str) -> OpenFile | None:
        self._unused()

    def remove_files(self, names: Sequence[str]) -> None:
        self._unused()

    def folders(self, folder: str) -> list[str]:
        self._unused()

    def walk(self, folder: str = "") -> Iterator[StoredFile]:
        self._unused()

    def scan(self, folder: str = "") -> Scan:
        self._unused()

    def entries(self, folder: str = "") -> list[str]:
        self._unused()

    def _unused(self) -> NoReturn:
        raise AssertionError("claims use nothing else")
