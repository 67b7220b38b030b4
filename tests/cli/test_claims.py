"""Real `fda` runs that want the same store at once."""

from __future__ import annotations

import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest

from store.claims.holding import ANY_STAGE, claimed, claims_on
from store.places.opening import folder_at
from tests.clips_on_disk import SMALL, SMALL_FLAGS, Commands, run_preprocess, write_small_dataset
from tests.forked import Forked, forked_fda
from tests.stores import tree_digest

NUM_VIDEOS = 9
FLAGS = (*SMALL_FLAGS, "--shard-size", "1", "--no-progress", "--workers", "0")


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_dataset(tmp_path_factory.mktemp("data"), {"test": NUM_VIDEOS})


@pytest.fixture(scope="module")
def made(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of a run that nothing disturbed."""
    place = tmp_path_factory.mktemp("whole") / "store"
    run_preprocess(manifest, place, replace(SMALL, shard_size=1))
    return place


@pytest.fixture(scope="module")
def whole(made: Path) -> dict[str, str]:
    """What it holds."""
    return tree_digest(made)


def preprocess_in_a_process(manifest: Path, place: Path, *flags: str) -> Forked:
    return forked_fda(place.parent, "preprocess", manifest, place, *FLAGS, *flags)


def ended(run: Forked) -> tuple[int | None, str]:
    """Exit code and what it said."""
    _, said = run.communicate(timeout=120)
    return run.returncode, said


@pytest.mark.parametrize(
    "command",
    [
        ["preprocess", "MANIFEST", "STORE", *FLAGS],
        ["preprocess", "MANIFEST", "STORE", *FLAGS, "--overwrite"],
        ["preprocess", "MANIFEST", "STORE", *FLAGS, "--partition", "1/2"],
        ["masks", "STORE", "--masks", "other", "--workers", "0"],
        ["remove", "STORE", "--masks", "default", "--yes"],
        ["finalise", "STORE"],
    ],
    ids=" ".join,
)
def test_a_command_that_writes_is_refused_while_another_run_holds_the_store(
    fda: Commands, manifest: Path, made: Path, tmp_path: Path, command: list[str]
) -> None:
    place = shutil.copytree(made, tmp_path / "store")
    folder = folder_at(place)
    with claimed(folder, "fda test", [ANY_STAGE]):
        before = tree_digest(place)
        busy = fda(*({"MANIFEST": str(manifest), "STORE": str(place)}.get(word, word) for word in command))
        (claim,) = claims_on(folder)
        assert busy.code == 1
        assert busy.error_line.startswith(f"fda: error: {place} is being written to by {claim}; both write the same")
        assert "--wait" in busy.error_line
        assert fda("status", place).code == 0  # which only reads
        assert tree_digest(place, leave_out=("partial",)) == before


def test_two_runs_at_once_of_which_each_waits_for_the_other(
    manifest: Path, tmp_path: Path, whole: dict[str, str]
) -> None:
    runs = [preprocess_in_a_process(manifest, tmp_path / "store", "--wait") for _ in range(2)]
    said = [ended(run) for run in runs]
    assert [code for code, _ in said] == [0, 0], said
    assert sum("nothing to do" in text for _, text in said) == 1
    assert tree_digest(tmp_path / "store") == whole


def test_parts_of_one_job_that_begin_at_once_where_there_is_no_store_yet(
    fda: Commands, manifest: Path, tmp_path: Path, whole: dict[str, str]
) -> None:
    runs = [preprocess_in_a_process(manifest, tmp_path / "store", "--partition", f"{part}/3") for part in (1, 2, 3)]
    said = [ended(run) for run in runs]
    assert [code for code, _ in said] == [0, 0, 0], said
    assert fda("finalise", tmp_path / "store").code == 0
    assert tree_digest(tmp_path / "store") == whole


def test_a_run_that_was_taken_for_dead_ends_with_the_reason(
    manifest: Path, tmp_path: Path, whole: dict[str, str]
) -> None:
    folder = folder_at(tmp_path / "store")
    run = preprocess_in_a_process(manifest, tmp_path / "store")
    while not any(stored.name.startswith("commits/") for stored in folder.walk()):
        assert run.poll() is None
        time.sleep(0.005)
    run.send_signal(signal.SIGSTOP)
    for name in folder.names("claims"):
        folder.remove(name)
    run.send_signal(signal.SIGCONT)
    code, said = ended(run)
    assert code == 1
    assert f"this run has lost its claim on {folder.place}" in said
    assert ended(preprocess_in_a_process(manifest, tmp_path / "store"))[0] == 0
    assert tree_digest(tmp_path / "store") == whole
