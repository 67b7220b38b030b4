"""Every command that writes, on a store at s3://, disturbed at its write requests, and run again.

Here a sample; `python -m tests.store.places.test_objects_faults SECONDS [SEED] [SCENARIO]` tries more of them.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

import pytest

import store.places.s3
from store.errors import NotInStoreError, StoreWriteError
from store.places.objects import ObjectFolder
from store.places.opening import folder_at
from store.places.s3 import close_connection, request
from tests.faults.commands import in_a_fork, run_fda, warm_up
from tests.faults.scenarios import SCENARIOS, Scenario, World
from tests.s3 import BUCKET, Fault, Seen, Server, running_server, tree, use_server
from tests.seed import drawn

WRITES = ("PUT", "DELETE", "POST")


class End(StrEnum):
    """What becomes of the run, besides the request."""

    FAILS = "this request fails for good, the next ones do not"
    GONE = "the server answers no more"
    KILLED = "the process is killed"


@dataclass(frozen=True, slots=True)
class Trouble:
    """What happens at one of the requests that write, counted from 0."""

    number: int
    fault: Fault
    end: End


FAULTS = (Fault.DROPPED, Fault.ANSWER_LOST, Fault.SLOW_DOWN, Fault.INTERNAL, Fault.UPLOAD_CUT, Fault.UPLOAD_CHANGED)
KINDS = (
    *((fault, End.FAILS) for fault in FAULTS),
    *((fault, End.GONE) for fault in (Fault.ANSWER_LOST, Fault.INTERNAL, Fault.UPLOAD_CUT)),
    *((fault, End.KILLED) for fault in (Fault.DROPPED, Fault.ANSWER_LOST, Fault.UPLOAD_CUT)),
)


class ObjectTrials:
    """Disturbs commands, and says what is wrong afterwards."""

    def __init__(self, folder: Path, server: Server) -> None:
        warm_up()
        (folder / "world").mkdir(parents=True)
        self._world = World(folder / "world")
        self._folder = folder
        self._server = server
        self._objects = ObjectFolder(BUCKET, "trials")
        self._bases: dict[tuple[tuple[str, ...], ...], Path] = {}
        self._right: dict[str, tuple[Mapping[str, str], Mapping[str, str], int]] = {}
        self._pid = multiprocessing.get_context("fork").Value("q", 0)

    def num_writes(self, scenario: Scenario) -> int:
        """How many requests of a command write, when nothing happens."""
        return self._undisturbed(scenario)[2]

    def disturbed(self, scenario: Scenario, trouble: Trouble) -> None:
        """Disturb a command, run it again to its end, and compare all bytes with those of a local disk."""
        before, right, _ = self._undisturbed(scenario)
        self._start(scenario)
        self._server.script.begin(self._fault_of(trouble))
        self._pid.value = 0
        ended = in_a_fork(functools.partial(self._run_into, scenario, trouble))
        self._server.script.begin()
        assert ended == 0 or (trouble.end is End.KILLED and ended == -signal.SIGKILL), f"{trouble}: ended by {ended}"
        for name, digest in tree(self._objects).items():
            kept = name.replace("withdrawn/", "commits/", 1)
            assert digest in (before.get(kept), right.get(kept)), f"{trouble}: {name} is as it never should be"
        try:
            run_fda(self._arguments(scenario.command))
        except NotInStoreError:  # what was to be removed was gone already
            assert scenario.command[0] == "remove"
            run_fda(["finalise", self._objects.place, "--max-failed", "100%"])
        left = tree(self._objects)
        differing = {name for name in {*left, *right} if left.get(name) != right.get(name)}
        assert not differing, f"{trouble}: not the same after another run: {sorted(differing)}"
        assert self._objects.names("claims") == []

    def _undisturbed(self, scenario: Scenario) -> tuple[Mapping[str, str], Mapping[str, str], int]:
        """Digests of the files before and after, made on a local disk, and the number of requests that write."""
        if scenario.name not in self._right:
            base = self._base(scenario.before)
            after = self._base((*scenario.before, scenario.command))
            self._start(scenario)
            self._server.script.begin()
            run_fda(self._arguments(scenario.command))
            writes = [seen for seen in self._server.script.seen if seen.kind in WRITES]
            before, right = tree(folder_at(base)), tree(folder_at(after))
            assert tree(self._objects) == right
            self._right[scenario.name] = before, right, len(writes)
        return self._right[scenario.name]

    def _base(self, commands: tuple[tuple[str, ...], ...]) -> Path:
        """The store that commands make on a local disk; there is no such folder where there are none."""
        if commands not in self._bases:
            base = self._folder / f"base_{len(self._bases)}" / "store"
            self._bases[commands] = base
            if commands:
                if commands[:-1]:
                    shutil.copytree(self._base(commands[:-1]), base)
                self._world.run(commands[-1], base)
        return self._bases[commands]

    def _start(self, scenario: Scenario) -> None:
        """Make the bucket hold what the command finds: what is there already is not written again."""
        base = self._base(scenario.before)
        wanted, there = tree(folder_at(base), ()), tree(self._objects, ())
        for name in there.keys() - wanted.keys():
            self._objects.remove(name)
        for name in (name for name, digest in wanted.items() if there.get(name) != digest):
            self._objects.write(name, (base / name).read_bytes())

    def _arguments(self, command: tuple[str, ...]) -> list[str]:
        words = self._world.arguments(command, Path("STORE"))
        return [self._objects.place if word == "STORE" else word for word in words]

    def _fault_of(self, trouble: Trouble) -> Callable[[int, Seen], Fault | None]:
        count, has_begun = 0, False

        def fault_of(_: int, seen: Seen) -> Fault | None:
            nonlocal count, has_begun
            is_it = seen.kind in WRITES and count == trouble.number
            count += seen.kind in WRITES
            if has_begun:
                return Fault.INTERNAL if trouble.end is End.GONE else None
            has_begun = is_it
            if is_it and trouble.end is End.KILLED:
                os.kill(self._pid.value, signal.SIGKILL)
            return trouble.fault if is_it else None

        return fault_of

    def _run_into(self, scenario: Scenario, trouble: Trouble) -> None:
        """Run a command, and check how it ends if that is not by a kill."""
        self._pid.value = os.getpid()
        store.places.s3.PATIENCE = replace(store.places.s3.PATIENCE, attempts=1)
        try:
            run_fda(self._arguments(scenario.command))
        except NotInStoreError:
            assert scenario.command[0] == "remove", "only what was to be removed may be gone"
        except StoreWriteError as error:
            _check_error(error, self._objects.place)


def _check_error(error: StoreWriteError, place: str) -> None:
    """The message names the place and the remedy."""
    assert f" in {place}: " in str(error), str(error)
    assert re.search(r"tried once\)\. .*[Rr]un the (same )?command again", str(error)), str(error)


@pytest.fixture(scope="module")
def object_trials(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectTrials]:
    with pytest.MonkeyPatch.context() as patch:
        use_server(patch, server)
        yield ObjectTrials(tmp_path_factory.mktemp("trials"), server)


NUM_SAMPLED = 2
"""Others at each commit."""


@pytest.mark.parametrize("number", range(NUM_SAMPLED))
def test_disturbed_anywhere_and_run_again_the_bytes_are_the_same(object_trials: ObjectTrials, number: int) -> None:
    rng = drawn(f"object store {number}")
    scenario, kind = rng.choice(SCENARIOS), rng.choice(KINDS)
    trouble = Trouble(rng.randrange(object_trials.num_writes(scenario)), *kind)
    print(f"{scenario.name}: {trouble}")
    object_trials.disturbed(scenario, trouble)


def try_for(seconds: float, seed: int, names: list[str]) -> None:
    """Disturb each write of some scenarios in each way, in random order, until all are tried or the time is over."""
    with running_server() as server, pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        use_server(patch, server)
        request("create_bucket", Bucket=BUCKET)
        trials = ObjectTrials(Path(folder) / "trials", server)
        scenarios = [scenario for scenario in SCENARIOS if not names or scenario.name in names]
        every = [
            (scenario, Trouble(number, *kind))
            for scenario in scenarios
            for number in range(trials.num_writes(scenario))
            for kind in KINDS
        ]
        random.Random(seed).shuffle(every)
        end, tried, wrong = time.monotonic() + seconds, 0, 0
        for scenario, trouble in every:
            if time.monotonic() > end:
                break
            tried += 1
            try:
                trials.disturbed(scenario, trouble)
            except Exception as error:
                wrong += 1
                print(f"WRONG {scenario.name}: {trouble}: {error!r}", flush=True)
            if tried % 20 == 0:
                print(tried, flush=True)
        print(f"{tried} of {len(every)} tried, {wrong} wrong", flush=True)
        close_connection()


if __name__ == "__main__":
    try_for(float(sys.argv[1]), int((sys.argv[2:3] or ["0"])[0]), sys.argv[3:])
