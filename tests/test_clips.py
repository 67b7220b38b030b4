from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import zarr

from store.clips import FRAMES_STAGE, ClipReader, ShardFrames, mask_attributes, masks_stage, outcomes_of, read_frames
from store.commits import CommitRecord, commit_name, committed
from store.errors import NotInStoreError, ShardIncompleteError, StoreFormatError
from tests.stores import MASKS, clip_frames, clip_masks, fill_shard, fill_store, make_store


def test_clips_come_back_as_they_were_written(tmp_path: Path) -> None:
    store = make_store(tmp_path, 6)
    fill_store(store, failed=frozenset({2}))
    clips = ClipReader(store, "test", MASKS).read([5, 0, 5])
    assert clips.video_ids == ("-vidéo_5", "-vidéo_0", "-vidéo_5")
    np.testing.assert_array_equal(clips.rows, [5, 0, 5])
    np.testing.assert_array_equal(clips.frames, np.stack([clip_frames(row) for row in (5, 0, 5)]))
    np.testing.assert_array_equal(clips.masks, np.stack([clip_masks(row) for row in (5, 0, 5)]))
    np.testing.assert_array_equal(read_frames(store, store.shards("test")[1]).frames[1], clip_frames(5))


def test_an_empty_slot_is_never_read_as_a_video(tmp_path: Path) -> None:
    store = make_store(tmp_path, 6)
    fill_store(store, failed=frozenset({2}))
    reader = ClipReader(store, "test", MASKS)
    assert sorted(reader.video_ids) == [0, 1, 3, 4, 5]
    for read in (reader.read, reader.read_masks):
        with pytest.raises(NotInStoreError, match="row 2 of split 'test' holds no video"):
            read([0, 2])
    times = zarr.open_array(tmp_path / "clips.zarr/test/pts_seconds", mode="r")[:]
    assert np.isnan(np.asarray(times)).all(axis=1).tolist() == [False, False, True, False, False, False]


def test_no_rows_give_no_clips(tmp_path: Path) -> None:
    store = make_store(tmp_path, 2)
    fill_store(store)
    assert ClipReader(store, "test", MASKS).read([]).frames.shape == (0, 3, 8, 8, 3)


def test_a_shard_that_is_not_committed_cannot_be_read(tmp_path: Path) -> None:
    store = make_store(tmp_path, 6)
    fill_shard(store, store.shards("test")[0])
    with pytest.raises(ShardIncompleteError, match="shard test/00001 .* has no frames yet"):
        ClipReader(store, "test", MASKS)


def test_a_mask_set_that_is_not_there(tmp_path: Path) -> None:
    store = make_store(tmp_path, 2)
    with pytest.raises(NotInStoreError, match="no masks .other. for split .test."):
        mask_attributes(store, "test", "other")


def test_a_commit_record_is_a_table_that_anyone_reads(tmp_path: Path) -> None:
    store = make_store(tmp_path, 3)
    fill_store(store, failed=frozenset({1}))
    table = pq.read_table(tmp_path / "commits/test/frames/00000.parquet")
    assert table["video_id"].to_pylist() == ["-vidéo_0", "-vidéo_1", "-vidéo_2"]
    assert table["status"].to_pylist() == ["ok", "corrupt", "ok"]
    assert table["reason"].to_pylist() == [None, "broken on purpose", None]


def test_a_record_comes_back_as_it_was_written(tmp_path: Path) -> None:
    store = make_store(tmp_path, 3)
    fill_store(store, failed=frozenset({1}))
    shard = store.shards("test")[0]
    record = committed(store.folder, shard, masks_stage(MASKS))
    assert record is not None
    assert CommitRecord.from_bytes(record.to_bytes(), "name") == record
    assert list(record.inputs) == [commit_name(shard, FRAMES_STAGE)]
    assert outcomes_of(store, shard)[1].reason == "broken on purpose"


def test_a_shard_is_owed_again_when_its_data_are_gone_or_cut(tmp_path: Path) -> None:
    store = make_store(tmp_path, 3)
    fill_store(store)
    shard = store.shards("test")[0]
    record = committed(store.folder, shard, FRAMES_STAGE)
    assert record is not None
    assert len(record.files) == 3
    for file in record.files:
        path = store.folder.path(file.name)
        content = path.read_bytes()
        path.write_bytes(content[:-1])
        assert committed(store.folder, shard, FRAMES_STAGE) is None
        path.unlink()
        assert committed(store.folder, shard, FRAMES_STAGE) is None
        path.write_bytes(content)
        assert committed(store.folder, shard, FRAMES_STAGE) == record


def test_masks_are_owed_again_when_their_frames_changed(tmp_path: Path) -> None:
    store = make_store(tmp_path, 3)
    fill_store(store)
    shard = store.shards("test")[0]
    masks_record = store.folder.read(commit_name(shard, masks_stage(MASKS)))
    fill_shard(store, shard, failed=frozenset({1}))
    store.folder.write(commit_name(shard, masks_stage(MASKS)), masks_record)
    assert committed(store.folder, shard, FRAMES_STAGE) is not None
    assert committed(store.folder, shard, masks_stage(MASKS)) is None


def test_a_damaged_record_vouches_for_nothing(tmp_path: Path) -> None:
    store = make_store(tmp_path, 3)
    fill_store(store)
    shard = store.shards("test")[0]
    name = commit_name(shard, FRAMES_STAGE)
    store.folder.write(name, store.folder.read(name)[:-7])
    assert committed(store.folder, shard, FRAMES_STAGE) is None
    with pytest.raises(StoreFormatError, match=r"commits/test/frames/00000.parquet is damaged"):
        outcomes_of(store, shard)


def test_shapes_that_do_not_agree_are_refused() -> None:
    with pytest.raises(ValueError, match=r"do not agree on \(num_videos, num_frames\)"):
        ShardFrames(np.zeros((2, 3, 4, 4, 3), np.uint8), np.zeros((2, 4)), np.zeros((2, 3), np.int64))


def test_frames_whose_file_is_gone_are_not_read_as_black(tmp_path: Path) -> None:
    store = make_store(tmp_path, 3)
    fill_store(store)
    store.folder.remove("clips.zarr/test/frames/c/0/0/0/0/0")
    with pytest.raises(ShardIncompleteError, match="has lost some"):
        ClipReader(store, "test", MASKS)


def test_masks_of_other_frames_are_not_read(tmp_path: Path) -> None:
    store = make_store(tmp_path, 3)
    fill_store(store)
    shard = store.shards("test")[0]
    masks_record = store.folder.read(commit_name(shard, masks_stage(MASKS)))
    fill_shard(store, shard, failed=frozenset({1}))
    store.folder.write(commit_name(shard, masks_stage(MASKS)), masks_record)
    with pytest.raises(ShardIncompleteError, match="older"):
        ClipReader(store, "test", MASKS)
