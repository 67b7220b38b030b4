"""The main promise: killed at any write and run again, a store ends byte-identical to one that was never disturbed."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import store.places.local
from pipeline.datasets.read import read_dataset
from pipeline.frames.preprocess import VideoSource, plan_preprocess, preprocess_shards
from store.errors import StoreWriteError
from store.places.folder import StoreFolder, WrittenFile
from store.places.local import LocalFolder
from store.store import Store, clear_store
from tests.clips_on_disk import SMALL, opened_store, run_preprocess
from tests.decoders import RememberingDecoder
from tests.pipeline.frames.preprocessed import copy as copy
from tests.pipeline.frames.preprocessed import made as made
from tests.pipeline.frames.preprocessed import manifest as manifest
from tests.pipeline.frames.preprocessed import run
from tests.seed import drawn
from tests.stores import tree_digest


class Killed(BaseException):
    """Stands for whatever ends a process: nothing in the code may catch it."""


class Fault(Enum):
    """What happens at a write."""

    FULL = "the disk is full"
    KILLED_HALF_WAY = "killed, with half a file left behind"
    KILLED_BEFORE_RENAME = "killed, with a whole file that has no name yet"


@dataclass
class FaultyDisk:
    """Counts the writes of the store, and lets one of them fail. Decoding, a pure function, is done once."""

    monkeypatch: pytest.MonkeyPatch
    num_writes: int = 0

    @contextmanager
    def failing_at(self, number: int | None, fault: Fault) -> Iterator[None]:
        write, self.num_writes = LocalFolder.write, 0

        def faulty(folder: LocalFolder, name: str, content: bytes | memoryview) -> WrittenFile:
            self.num_writes += 1
            if self.num_writes != number:
                return write(folder, name, content)
            if fault is Fault.FULL:
                return self._on_a_full_disk(write, folder, name, content)
            kept = content if fault is Fault.KILLED_BEFORE_RENAME else content[: len(content) // 2]
            folder.path("partial/unclaimed").mkdir(parents=True, exist_ok=True)
            folder.path(f"partial/unclaimed/{number:032x}").write_bytes(kept)
            raise Killed

        with self.monkeypatch.context() as patch:
            patch.setattr(LocalFolder, "write", faulty)
            yield

    def _on_a_full_disk(
        self, write: object, folder: StoreFolder, name: str, content: bytes | memoryview
    ) -> WrittenFile:
        def full(descriptor: int) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        assert callable(write)
        with self.monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            written = write(folder, name, content)
            assert isinstance(written, WrittenFile)
            return written


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
    write_through, num_written, num_before = store.places.local._write_through, 0, len(tree_digest(place))

    def other_run_ends(path: Path, content: bytes | memoryview) -> None:
        nonlocal num_written
        write_through(path, content)
        num_written += 1
        if num_written % 2:
            opened.folder.remove_partial_files()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store.places.local, "_write_through", other_run_ends)
        preprocess_shards(opened, VideoSource(dataset.root), plan_preprocess(opened, SMALL), SMALL)
    assert num_written == 2 * (len(tree_digest(place)) - num_before)
    assert tree_digest(place) == tree_digest(Path(made.place))
