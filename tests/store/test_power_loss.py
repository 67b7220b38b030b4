"""The power is cut at any moment: no record may outlive its data, and what was done is done; the next run ends it."""

from __future__ import annotations

import functools
import hashlib
import sys
from pathlib import Path
from unittest import mock

import pytest
import xxhash

from store.commits import CommitRecord
from store.errors import StoreFormatError
from store.places import local_writing
from store.places.folder import WrittenFile
from store.places.opening import folder_at
from tests.faults.operations import SYNC, SYNC_FOLDER, operations
from tests.faults.policies import Recorder
from tests.faults.power import Choice, Disk, all_of_it, completed, none_of_it, some_of_it, write_tree
from tests.faults.scenarios import SCENARIOS, Scenario
from tests.faults.trials import NOT_COMPARED, Trials, Undisturbed
from tests.seed import drawn

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="descriptors are looked up in /proc")

NUM_RANDOM = 1
"""States of the disk that are drawn at each operation, beside the two extremes; others at each commit."""
BY_NAME = pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name.replace(" ", "_"))


def cut_after(trials: Trials, right: Undisturbed, num_operations: int, choose: Choice) -> dict[str, bytes]:
    """What a power cut leaves."""
    disk = Disk(trials.place, right.base)
    for operation in right.operations[:num_operations]:
        disk.do(operation)
    return disk.files(choose)


@functools.cache
def recorded_files(content: bytes, name: str) -> tuple[WrittenFile, ...]:
    """The files of a commit record; none if it is damaged, as it then counts as missing."""
    try:
        return CommitRecord.from_bytes(content, name).files
    except StoreFormatError:
        return ()


@functools.cache
def checksum(content: bytes) -> str:
    return xxhash.xxh3_128_hexdigest(content)


def check_records(files: dict[str, bytes], found: dict[str, bytes]) -> None:
    """Every commit record has its data intact, unless the command already found it otherwise."""
    for name, content in files.items():
        if name.startswith("commits/"):
            was_there = content == found.get(name)
            for written in recorded_files(content, name):
                there = files.get(written.name)
                if was_there and there == found.get(written.name):
                    continue
                assert there is not None, f"{name} exists, and {written.name} is missing"
                assert checksum(there) == written.xxh128, f"{name} exists, and {written.name} is damaged"


@BY_NAME
def test_all_operations_were_seen(trials: Trials, scenario: Scenario) -> None:
    """Done one after the other, they leave what the run from which they were recorded has left."""
    right = trials.undisturbed(scenario)
    left = cut_after(trials, right, len(right.operations), all_of_it)
    digests = {
        name: hashlib.sha256(content).hexdigest()
        for name, content in left.items()
        if name.split("/")[0] not in NOT_COMPARED
    }
    assert digests == right.files
    assert {SYNC, SYNC_FOLDER} <= {operation.kind for operation in right.operations}


@BY_NAME
def test_no_record_outlives_its_data_and_what_was_done_stays_done(trials: Trials, scenario: Scenario) -> None:
    right, rng = trials.undisturbed(scenario), drawn(f"{scenario.name} loses power")
    disk = Disk(trials.place, right.base)
    promised = completed(right.operations, trials.place)
    found = disk.files(all_of_it)
    for number, operation in enumerate(right.operations):
        disk.do(operation)
        states = [disk.files(choose) for choose in (none_of_it, all_of_it, *[some_of_it(rng)] * NUM_RANDOM)]
        for files in states:
            check_records(files, found)
            for name, content in promised[number].items():
                assert files.get(name) == content, f"{name} is not on the disk, {operation} though it was"


@BY_NAME
def test_after_a_power_cut_the_next_run_makes_the_same_bytes(trials: Trials, scenario: Scenario) -> None:
    right, rng = trials.undisturbed(scenario), drawn(f"{scenario.name} resumes")
    choose = rng.choice([none_of_it, some_of_it(rng)])
    files = cut_after(trials, right, rng.randrange(len(right.operations)), choose)
    trials.start(Path("/nowhere"))
    write_tree(trials.place, files)
    trials.check_resumed(scenario, right)


def test_this_disk_loses_what_is_not_synced(tmp_path: Path) -> None:
    """Without any sync, each of these may be all that is left."""
    recorder, place = Recorder(), tmp_path / "store"
    with operations(place, recorder), mock.patch.object(local_writing, "sync_folder"):
        folder_at(place).write("commits/test/frames/00000.parquet", b"content")
    disk = Disk(place, tmp_path / "nothing")
    for operation in recorder.done:
        disk.do(operation)
    assert disk.files(none_of_it) == {}
    assert disk.files(all_of_it) == {"commits/test/frames/00000.parquet": b"content"}
