"""Runs that are killed for real (SIGKILL), or whose disk fails, at the writes of every command; then run again.

Here about eighty moments, others at each commit (tests/seed.py); `make soak` tries thousands.
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
from tests.faults.draws import DISK_ERRORS, draw_failure
from tests.faults.operations import CREATE, MKDIR, RENAME, WRITE, operations
from tests.faults.policies import FailAt, Failure, KillAt, Point, Recorder
from tests.faults.scenarios import SCENARIOS, Scenario
from tests.faults.trials import NOT_COMPARED, Trials
from tests.seed import drawn
from tests.stores import tree_digest

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="descriptors are looked up in /proc")

NUM_FAILURES = 2 * len(SCENARIOS) // 3
"""As many scenarios, others at each commit, of which one operation fails."""
NUM_GIVEN_UP = 3
BY_NAME = pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name.replace(" ", "_"))


@BY_NAME
def test_killed_anywhere_and_run_again_the_bytes_are_the_same(trials: Trials, scenario: Scenario) -> None:
    """Where data have no record yet, or at the last point, where most has been done; and at another, or once more."""
    right, rng = trials.undisturbed(scenario), drawn(scenario.name)
    first, other = right.before_the_first_record or right.points[-1], rng.choice(right.points)
    for points in [[first, other]] if rng.random() < 0.5 else [[first], [other]]:
        trials.disturbed(scenario, points)


@pytest.mark.parametrize("number", range(NUM_FAILURES))
def test_an_operation_that_fails_is_told_of_and_the_next_run_repairs_it(trials: Trials, number: int) -> None:
    scenario = drawn("failures").sample(SCENARIOS, NUM_FAILURES)[number]
    trials.disturbed(scenario, [draw_failure(trials.undisturbed(scenario), drawn(f"{scenario.name} fails"))])


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
    ("breaking", "name", "points_of"),
    [
        (_is_renamed_too_early, "create", lambda recorder: [one for one in recorder.points[::-1] if one.is_half]),
        (_is_committed_while_it_is_written_again, "changed", lambda recorder: [recorder.before_the_first_record]),
    ],
)
def test_these_trials_find_what_is_broken(
    breaking: Callable[[pytest.MonkeyPatch], None],
    name: str,
    points_of: Callable[[Recorder], Sequence[Point]],
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
    assert any(is_found(trials, scenario, point) for point in points_of(recorder))


def is_found(trials: Trials, scenario: Scenario, point: Point) -> bool:
    try:
        trials.disturbed(scenario, [point])
    except AssertionError:
        return True
    return False
