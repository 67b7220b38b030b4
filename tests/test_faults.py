"""Runs that are killed for real (SIGKILL), or whose disk fails, at the writes of every command; then run again.

Here about a hundred moments, others at each commit (tests/seed.py); `make soak` tries thousands.
"""

from __future__ import annotations

import errno
import functools
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from store.places.folder import StoreFolder
from store.places.local import LocalFolder
from store.places.opening import folder_at
from store.schema import Shard
from tests.faults.commands import in_a_fork, run_under
from tests.faults.draws import DISK_ERRORS, draw_error
from tests.faults.operations import CREATE, MKDIR, RENAME, WRITE, operations
from tests.faults.policies import FailAt, Failure, KillAt, Point, Recorder
from tests.faults.scenarios import SCENARIOS, Scenario
from tests.faults.trials import NOT_COMPARED, Trials
from tests.seed import drawn
from tests.stores import tree_digest

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="descriptors are looked up in /proc")

KILLS_OF_EACH = 1
"""Besides the last point of a run, which is the one where most has been done."""
FAILURES_OF_EACH = 1
NUM_GIVEN_UP = 4
BY_NAME = pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name.replace(" ", "_"))
NUM_KILLED_TWICE = len(SCENARIOS) // 2
"""Scenarios whose second run is killed as well, others at each commit."""


@BY_NAME
def test_killed_anywhere_and_run_again_the_bytes_are_the_same(trials: Trials, scenario: Scenario) -> None:
    points, rng = trials.undisturbed(scenario).points, drawn(scenario.name)
    for point in (points[-1], *rng.sample(points[:-1], KILLS_OF_EACH)):
        trials.disturbed(scenario, [point])


@pytest.mark.parametrize("number", range(NUM_KILLED_TWICE))
def test_killed_again_while_it_resumes(trials: Trials, number: int) -> None:
    scenario = drawn("killed twice").sample(SCENARIOS, NUM_KILLED_TWICE)[number]
    rng = drawn(f"{scenario.name} twice")
    trials.disturbed(scenario, rng.choices(trials.undisturbed(scenario).points, k=2))


@BY_NAME
def test_an_operation_that_fails_is_told_of_and_the_next_run_repairs_it(trials: Trials, scenario: Scenario) -> None:
    right, rng = trials.undisturbed(scenario), drawn(f"{scenario.name} fails")
    for number in rng.sample(range(len(right.operations)), FAILURES_OF_EACH):
        failure = Failure(number, draw_error(rng), is_for_good=rng.random() < 0.5, is_half=rng.random() < 0.3)
        trials.disturbed(scenario, [failure])


@pytest.mark.parametrize("number", DISK_ERRORS, ids=errno.errorcode.get)
@pytest.mark.parametrize("kind", [MKDIR, CREATE, WRITE, RENAME])
def test_every_kind_of_operation_may_fail_by_every_error(tmp_path: Path, kind: str, number: int) -> None:
    folder, recorder = folder_at(tmp_path / "store"), Recorder()
    with operations(tmp_path / "store", recorder):
        folder.write("commits/test/frames/00000.parquet", b"first")
    failing = [place for place, operation in enumerate(recorder.done) if operation.kind == kind][-1]
    other = folder_at(tmp_path / "other")
    policy = FailAt(Failure(failing, OSError(number, os.strerror(number)), is_for_good=True, is_half=True))
    with operations(tmp_path / "other", policy), pytest.raises(OSError, match="run the same command again") as raised:
        other.write("commits/test/frames/00000.parquet", b"first")
    full = number in (errno.ENOSPC, errno.EDQUOT)
    assert ("no space left on the disk" if full else os.strerror(number)) in str(raised.value)
    assert "cannot write commits/test/frames/00000.parquet" in str(raised.value)
    assert [stored.name for stored in other.walk("commits")] == []
    other.write("commits/test/frames/00000.parquet", b"first")
    assert other.read("commits/test/frames/00000.parquet") == b"first"


def test_a_retry_that_was_killed_and_is_given_up_leaves_what_stood(trials: Trials) -> None:
    """The same command without --retry-failed, on the videos as they were."""
    retry, rng = next(one for one in SCENARIOS if one.name == "retry"), drawn("given up")
    right = trials.undisturbed(retry)
    for point in rng.sample(right.points, NUM_GIVEN_UP):
        trials.start(right.base)
        arguments = trials.world.arguments(retry.command, trials.place)
        in_a_fork(functools.partial(run_under, KillAt(point), trials.place, arguments))
        trials.world.run(retry.before[-1], trials.place)
        assert tree_digest(trials.place, NOT_COMPARED) == right.base_files, f"killed {point}"


def _is_renamed_too_early(monkeypatch: pytest.MonkeyPatch) -> None:
    def write(self: LocalFolder, groups: Sequence[Mapping[str, bytes]]) -> None:
        for name, content in (item for group in groups for item in group.items()):
            self.path(name).parent.mkdir(parents=True, exist_ok=True)
            with self.path(name).open("wb") as file:
                file.write(content)

    monkeypatch.setattr(LocalFolder, "write_in_order", write)


def _is_committed_while_it_is_written_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def leave(folder: StoreFolder, shard: Shard, stage: str, *, keep: bool = False) -> bool:
        return False

    monkeypatch.setattr("store.commits.withdraw_commit", leave)


@pytest.mark.parametrize(
    ("breaking", "name", "is_half"),
    [(_is_renamed_too_early, "create", True), (_is_committed_while_it_is_written_again, "changed", False)],
)
def test_these_trials_find_what_is_broken(
    breaking: Callable[[pytest.MonkeyPatch], None],
    name: str,
    is_half: bool,
    trials: Trials,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scenario = next(one for one in SCENARIOS if one.name == name)
    trials.undisturbed(scenario)
    breaking(monkeypatch)
    recorder = Recorder()
    trials.start(trials.undisturbed(scenario).base)
    with operations(trials.place, recorder):
        trials.world.run(scenario.command, trials.place)
    points = [point for point in recorder.points if point.is_half is is_half]
    assert any(is_found(trials, scenario, point) for point in reversed(points))  # at the end, most can be lost


def is_found(trials: Trials, scenario: Scenario, point: Point) -> bool:
    try:
        trials.disturbed(scenario, [point])
    except AssertionError:
        return True
    return False
