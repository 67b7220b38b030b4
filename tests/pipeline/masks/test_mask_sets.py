"""Mask sets made from stored frames: the same bits as `fda preprocess` gives, and the same bytes whatever happens."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.masks.clips import clip_masks
from pipeline.masks.mask_sets import create_mask_set, plan_masks, summarise_masks
from pipeline.masks.options import Difference, MaskOptions, MaskSet
from pipeline.masks.shard import make_masks
from pipeline.workers.dask import local_dask
from pipeline.workers.executors import run_synchronously
from store.clips.mask_sets import mask_set_files, mask_set_names
from store.clips.reader import ClipReader
from store.clips.shards import ShardFrames, create_clip_arrays, read_frames
from store.commits import CommitRecord, VideoOutcome, commit_name
from store.completion import outcomes_of
from store.errors import NotInStoreError, ShardIncompleteError, StoreMismatchError, StoreWriteError
from store.growth import create_store
from store.own_files import remove_own
from store.places.local import LocalFolder
from store.places.opening import folder_at
from store.schema import Shard, VideoStatus
from store.stages import FRAMES_STAGE, masks_stage
from store.store import Store
from tests.clips_on_disk import SMALL, run_preprocess, write_mixed_dataset
from tests.faulty_disk import Fault, FaultyDisk, Killed
from tests.mask_sets import make_mask_set
from tests.stores import NUM_FRAMES, SIZE, clip_frames, make_catalog, make_manifest, tree_digest, write_frames

RAW = MaskOptions(kernel_size=1, min_area=0)
NAME = "other"
HIGH = replace(SMALL.masks, threshold=60.0)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """By `fda preprocess`, with videos that failed. Not to be changed."""
    folder = tmp_path_factory.mktemp("mixed")
    return run_preprocess(write_mixed_dataset(folder), folder / "store")


@pytest.fixture
def copy(made: Store, tmp_path: Path) -> Store:
    return Store.open(shutil.copytree(Path(made.place), tmp_path / "copy"))


def run(store: Store, options: MaskOptions = HIGH, name: str = NAME, *, overwrite: bool = False) -> int:
    """What `fda masks --workers 0` does; returns how many shards were made."""
    create_mask_set(store, name, options, overwrite=overwrite)
    plan = plan_masks(store, name)
    make_mask_set(store, name, options, plan)
    return len(plan.pending)


def test_masks_made_later_are_byte_for_byte_those_of_preprocess(copy: Store) -> None:
    before = tree_digest(Path(copy.place))
    assert run(copy, SMALL.masks, overwrite=True) == 4
    after = tree_digest(Path(copy.place))
    assert {name: after[name] for name in before} == before
    new = sorted(set(after) - set(before))
    arrays = [name for name in new if name.startswith("clips.zarr") and "zarr.json" not in name]
    assert len(arrays) > 1
    for name in arrays:
        assert after[name] == before[name.replace(NAME, "default")]
    for shard in copy.shards("test"):
        mine, theirs = (outcomes_of(copy, shard, masks_stage(name)) for name in (NAME, "default"))
        assert mine == theirs


def test_another_threshold_needs_no_video_and_a_second_run_nothing(copy: Store) -> None:
    assert run(copy) == 4
    clips = ClipReader(copy, "test", NAME).read([0, 2])
    for frames, masks in zip(clips.frames, clips.masks, strict=True):
        np.testing.assert_array_equal(masks, clip_masks(frames, HIGH).masks)
    before = tree_digest(Path(copy.place))
    assert run(copy) == 0
    assert tree_digest(Path(copy.place)) == before


def test_dask_gives_the_same_bytes(copy: Store, made: Store, tmp_path: Path) -> None:
    run(copy)
    other = Store.open(shutil.copytree(Path(made.place), tmp_path / "dask"))
    create_mask_set(other, NAME, HIGH)
    with local_dask(1) as executor:
        make_mask_set(other, NAME, HIGH, plan_masks(other, NAME), executor)
    assert tree_digest(Path(other.place)) == tree_digest(Path(copy.place))


def test_other_options_are_refused_and_overwrite_removes_that_mask_set_alone(copy: Store) -> None:
    before = tree_digest(Path(copy.place))
    run(copy)
    with pytest.raises(StoreMismatchError, match=r"threshold is 60.0 in the store and 25.0 now"):
        run(copy, SMALL.masks)
    assert run(copy, SMALL.masks, overwrite=True) == 4
    assert mask_set_names(copy) == ("default", NAME)
    remove_own(copy.folder, mask_set_files(copy, NAME))
    assert mask_set_names(copy) == ("default",)
    assert tree_digest(Path(copy.place)) == before


def test_missing_or_newer_frames_are_detected(copy: Store) -> None:
    run(copy)
    record = Path(copy.place) / commit_name(copy.shards("test")[1], FRAMES_STAGE)
    content = record.read_bytes()
    record.unlink()
    before = tree_digest(Path(copy.place))
    with pytest.raises(ShardIncompleteError, match=r"test/00001 .* has no frames yet.*fda preprocess"):
        run(copy, overwrite=True)
    assert tree_digest(Path(copy.place)) == before
    record.write_bytes(content)
    assert run(copy) == 0


def test_frames_rebuilt_while_masks_are_computed_leave_the_masks_pending(
    copy: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def after_a_retry(store: Store, shard: Shard, *args: Any) -> CommitRecord:
        outcomes = [replace(outcome, fps=99.0) for outcome in outcomes_of(store, shard)]
        write_frames(store, shard, read_frames(store, shard), outcomes)
        return make_masks(store, shard, *args)

    with monkeypatch.context() as patch:
        patch.setattr("pipeline.masks.mask_sets.make_masks", after_a_retry)
        assert run(copy) == 4
    assert run(copy) == 4
    assert run(copy) == 0


def test_consecutive_needs_neighbours(copy: Store) -> None:
    before = tree_digest(Path(copy.place))
    with pytest.raises(NotInStoreError, match="--neighbours"):
        run(copy, replace(HIGH, difference=Difference.CONSECUTIVE))
    assert tree_digest(Path(copy.place)) == before


def test_a_summary_of_a_missing_mask_set(copy: Store) -> None:
    with pytest.raises(NotInStoreError, match="no masks 'none' in .*: there are 'default'"):
        summarise_masks(copy, "none")


def test_the_summary_is_that_of_the_masks(copy: Store) -> None:
    run(copy)
    train, test = summarise_masks(copy, NAME)
    masks = ClipReader(copy, "test", NAME).read_masks([0, 2])
    assert (train.split, train.num_videos, train.num_videos_masked) == ("train", 2, 2)
    assert (test.split, test.num_videos, test.num_videos_masked) == ("test", 5, 2)
    assert test.mean_coverage == pytest.approx(masks.mean())
    assert test.empty_share == pytest.approx((~masks.any(axis=(2, 3))).mean())
    assert test.full_share == pytest.approx((masks.mean(axis=(2, 3)) >= 0.9).mean())
    assert test.num_unregistered_pairs is None


@pytest.mark.parametrize("neighbours", [False, True])
def test_frames_that_a_clip_lacks_have_no_masks(tmp_path: Path, neighbours: bool) -> None:
    """A clip of two frames, one of three, and a video that failed, in slots for three."""
    store = create_store(
        folder_at(tmp_path / "store"), replace(make_manifest(3), neighbours=neighbours), make_catalog(3)
    )[0]
    create_clip_arrays(store, {})
    shard = store.shards("test")[0]
    frames = np.stack([clip_frames(row) for row in range(3)])
    index = np.array([[0, 5, -1], [0, 4, 8], [-1, -1, -1]])
    frames[index < 0] = 0
    grey = np.where((index < 0)[..., None, None], 0, 128).astype(np.uint8) * np.ones((SIZE, SIZE), np.uint8)
    outcomes = [
        VideoOutcome(video.video_id, video.row, status, filled=status == VideoStatus.OK)
        for video, status in zip(
            store.catalog.shard_videos(shard), [VideoStatus.OK, VideoStatus.OK, VideoStatus.CORRUPT], strict=True
        )
    ]
    pts = np.where(index < 0, np.nan, index / 25)
    write_frames(store, shard, ShardFrames(frames, pts, index, grey if neighbours else None), outcomes)
    options = replace(RAW, difference=Difference.CONSECUTIVE if neighbours else Difference.SAMPLED)
    run(store, options)
    short, whole = ClipReader(store, "test", NAME).read_masks([0, 1])
    np.testing.assert_array_equal(
        short[:2], clip_masks(frames[0, :2], options, grey[0, :2] if neighbours else None).masks
    )
    assert short[:2].any()
    assert not short[2].any()
    np.testing.assert_array_equal(whole, clip_masks(frames[1], options, grey[1] if neighbours else None).masks)
    numbers = [outcome.num_masks for outcome in outcomes_of(store, shard, masks_stage(NAME))]
    assert numbers == [2, NUM_FRAMES, None]


# Faults


@pytest.mark.parametrize("fault", [Fault.KILLED_HALF_WAY, Fault.KILLED_BEFORE_RENAME])
def test_killed_at_any_write_and_run_again(
    made: Store, copy: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Fault
) -> None:
    disk = FaultyDisk(monkeypatch)
    with disk.failing_at(None, fault):
        run(copy)
    whole, total = tree_digest(Path(copy.place)), disk.num_writes
    assert total == 2 + 4 + 4 - 1  # array metadata, commits, shards, of which one holds no mask
    for last in range(1, total + 1):
        store = Store.open(shutil.copytree(Path(made.place), tmp_path / str(last)))
        with disk.failing_at(last, fault), pytest.raises(Killed):
            run(store)
        left = tree_digest(Path(store.place), leave_out=("partial",))
        assert {name: whole[name] for name in left} == left
        run(store)
        assert tree_digest(Path(store.place)) == whole


def test_a_removal_that_was_killed_and_run_again(
    made: Store, copy: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(copy)
    whole = tree_digest(Path(copy.place))
    removed = [own.name for own in mask_set_files(copy, NAME)]
    unlink, num_removed, last = os.unlink, 0, 0

    def faulty(path: Path) -> None:
        nonlocal num_removed
        num_removed += str(path).endswith(tuple(removed))
        if num_removed == last:
            raise Killed
        unlink(path)

    for last in range(1, len(removed) + 1):
        store = Store.open(shutil.copytree(Path(made.place), tmp_path / str(last)))
        run(store, SMALL.masks)
        num_removed = 0
        with monkeypatch.context() as patch:
            patch.setattr(os, "unlink", faulty)
            with pytest.raises(Killed):
                run(store, HIGH, overwrite=True)
        left = [own.name for own in mask_set_files(store, NAME)]
        assert len(left) == len(removed) - last + 1
        if any(name.startswith("commits/") for name in left):  # they go first
            assert {name for name in removed if name.startswith("clips.zarr/")} <= set(left)
        run(store, HIGH, overwrite=True)
        assert tree_digest(Path(store.place)) == whole


def test_a_full_disk_is_an_error_that_can_be_repaired(copy: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(folder: LocalFolder, groups: Sequence[Mapping[str, bytes]]) -> None:
        raise StoreWriteError(f"cannot write {groups[0]}")

    create_mask_set(copy, NAME, HIGH)
    plan = plan_masks(copy, NAME)
    with monkeypatch.context() as patch:
        patch.setattr(LocalFolder, "write_in_order", full)
        with pytest.raises(StoreWriteError):
            make_mask_set(copy, NAME, HIGH, plan, run_synchronously)
    assert len(plan_masks(copy, NAME).pending) == 4


def test_make_masks_takes_the_frames_as_they_are_read(copy: Store) -> None:
    create_mask_set(copy, NAME, HIGH)
    shard = copy.shards("test")[0]
    record = make_masks(copy, shard, MaskSet(NAME, HIGH), read_frames(copy, shard), outcomes_of(copy, shard))
    assert [outcome.filled for outcome in record.outcomes] == [True, False]
    assert record.outcomes[1].mask_coverage is None
