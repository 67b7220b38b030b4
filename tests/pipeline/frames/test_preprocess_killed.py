"""The main promise: killed at any write and run again, a store ends byte-identical to one that was never disturbed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.datasets.read import read_dataset
from pipeline.frames.preprocess import VideoSource, plan_preprocess, preprocess_shards
from store.errors import StoreWriteError
from store.places.local_writing import LocalWrite
from store.store import Store, clear_store
from tests.clips_on_disk import SMALL, opened_store, run_preprocess
from tests.faulty_disk import Fault, FaultyDisk, Killed
from tests.pipeline.frames.preprocessed import copy as copy
from tests.pipeline.frames.preprocessed import made as made
from tests.pipeline.frames.preprocessed import manifest as manifest
from tests.pipeline.frames.preprocessed import run
from tests.remembering import RememberingDecoder
from tests.seed import drawn
from tests.stores import tree_digest

REMEMBERING = RememberingDecoder()
TWO_SHARDS = replace(SMALL, shard_size=8)
NUM_WRITES = 6
"""Writes at which a run is disturbed, others at each commit (tests/seed.py)."""


@pytest.mark.parametrize("fault", Fault)
def test_a_fault_at_any_write_and_a_run_again_end_as_one_undisturbed_run(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Fault
) -> None:
    disk = FaultyDisk(monkeypatch)
    with disk.failing_at(None, fault):
        whole = tree_digest(Path(run_preprocess(manifest, tmp_path / "whole", TWO_SHARDS, decoder=REMEMBERING).place))
    num_writes = disk.num_writes
    assert num_writes > 20
    for number in drawn(f"writes at which a run is {fault}").sample(range(1, num_writes + 1), NUM_WRITES):
        place = tmp_path / f"{number}"
        with (
            disk.failing_at(number, fault),
            pytest.raises(StoreWriteError if fault is Fault.FULL else Killed) as caught,
        ):
            run_preprocess(manifest, place, TWO_SHARDS, decoder=REMEMBERING)
        if fault is Fault.FULL:
            assert "no space left on the disk" in str(caught.value)
            assert "run the same command again" in str(caught.value)
            assert not [path for path in place.glob("partial/**/*") if path.is_file()]
        assert_commits_vouch_for_what_stands(place, whole)
        run_preprocess(manifest, place, TWO_SHARDS, decoder=REMEMBERING)
        assert tree_digest(place) == whole, f"after {fault.value} at write {number}"
        assert not (place / "partial").exists()
        shutil.rmtree(place)


def assert_commits_vouch_for_what_stands(place: Path, whole: dict[str, str]) -> None:
    """Whatever has a name is whole: a fault leaves a part of the final store, and nothing else."""
    left = tree_digest(place, leave_out=("partial",))
    assert {name: whole[name] for name in left} == left
    for name in left:
        if name.startswith("commits/test/frames/"):
            assert "clips.zarr/test/frames/c.0.0.0.0.0" in left
        if name.startswith("commits/test/masks/"):
            assert "commits/test/frames/00000.parquet" in left


@given(kills=st.lists(st.tuples(st.integers(1, 40), st.sampled_from(Fault)), max_size=4), start=st.integers(0, 3))
@settings(max_examples=12)
def test_killed_again_and_again(
    manifest: Path, made: Store, tmp_path_factory: pytest.TempPathFactory, kills: list[tuple[int, Fault]], start: int
) -> None:
    place = tmp_path_factory.mktemp("killed") / "store"
    dataset = read_dataset("jsonl", manifest)
    with pytest.MonkeyPatch.context() as patch:
        disk = FaultyDisk(patch)
        for number, fault in kills:
            with disk.failing_at(number, fault), suppress(Killed, StoreWriteError):
                opened = opened_store(dataset, str(place), SMALL)
                plan = plan_preprocess(opened, SMALL)
                turned = replace(plan, pending=plan.pending[start:] + plan.pending[:start])
                preprocess_shards(opened, VideoSource(dataset.root, decoder=REMEMBERING), turned, SMALL)
    opened = run_preprocess(manifest, place, decoder=REMEMBERING)
    assert tree_digest(Path(opened.place)) == tree_digest(Path(made.place))
    assert not (place / "partial").exists()


def test_a_removal_that_was_killed_can_be_repeated(
    manifest: Path, made: Store, copy: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--overwrite`, killed while it removes: whatever is left is still known for a store."""
    unlink, num_unlinked = os.unlink, 0
    num_files = len([path for path in Path(copy.place).rglob("*") if path.is_file()])

    def killed_in_time(path: str, *, dir_fd: int | None = None) -> None:
        nonlocal num_unlinked
        num_unlinked += 1
        if num_unlinked % 5 == 0:
            raise Killed
        unlink(path, dir_fd=dir_fd)

    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", killed_in_time)
        for _ in range(num_files):
            with suppress(Killed):
                clear_store(copy.folder)
    assert num_unlinked > num_files
    assert list(tree_digest(Path(copy.place))) == ["store.json"]
    run(manifest, Path(copy.place))
    assert tree_digest(Path(copy.place)) == tree_digest(Path(made.place))


def test_a_run_that_ends_takes_nothing_away_from_another(manifest: Path, made: Store, tmp_path: Path) -> None:
    """Two runs on one store: each file of the one is on its way once when the other ends and cleans up."""
    place, dataset = tmp_path / "store", read_dataset("jsonl", manifest)
    opened = opened_store(dataset, str(place), SMALL)
    rename, before = LocalWrite._rename, set(tree_digest(place))
    swept: set[str] = set()

    def other_run_ends(self: LocalWrite, halves: Mapping[str, str], names: Sequence[str]) -> None:
        if not swept.issuperset(names):
            swept.update(names)
            opened.folder.remove_partial_files()
        rename(self, halves, names)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LocalWrite, "_rename", other_run_ends)
        preprocess_shards(opened, VideoSource(dataset.root), plan_preprocess(opened, SMALL), SMALL)
    assert swept == set(tree_digest(place)) - before
    assert tree_digest(place) == tree_digest(Path(made.place))
