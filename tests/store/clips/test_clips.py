from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import zarr

from store.arrays.codec_names import CodecName
from store.clips.mask_sets import mask_attributes
from store.clips.reader import ClipReader
from store.clips.shards import ShardFrames, read_frames, read_next_grey, slot_checksum, write_masks
from store.commits import CommitRecord, commit_name
from store.completion import input_digests, outcomes_of, require_committed
from store.errors import NotInStoreError, ShardIncompleteError, StoreFormatError
from store.places.local import LocalFolder
from store.stages import FRAMES_STAGE, masks_stage
from tests.stores import (
    MASKS,
    clip_frames,
    clip_masks,
    committed,
    fill_shard,
    fill_store,
    make_store,
    outcomes,
    tree_digest,
    write_frames,
)


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
        with pytest.raises(NotInStoreError, match="row 2 of split 'test' has no video"):
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
    record = committed(store, shard, masks_stage(MASKS))
    assert record is not None
    assert CommitRecord.from_bytes(record.to_bytes(), "name") == record
    table = CommitRecord.from_bytes(record.to_bytes(), "name", ["row", "filled"], as_table=True).table
    assert table is not None
    assert table.to_pylist() == [{"row": outcome.row, "filled": outcome.filled} for outcome in record.outcomes]
    assert list(record.inputs) == [commit_name(shard, FRAMES_STAGE)]
    assert outcomes_of(store, shard)[1].reason == "broken on purpose"


def test_a_shard_is_pending_again_when_its_data_are_gone_or_cut(tmp_path: Path) -> None:
    store = make_store(tmp_path, 3)
    fill_store(store)
    shard = store.shards("test")[0]
    record = committed(store, shard, FRAMES_STAGE)
    assert record is not None
    assert len(record.files) == 3
    for file in record.files:
        path = Path(store.place) / file.name
        content = path.read_bytes()
        path.write_bytes(content[:-1])
        assert committed(store, shard, FRAMES_STAGE) is None
        path.unlink()
        assert committed(store, shard, FRAMES_STAGE) is None
        path.write_bytes(content)
        assert committed(store, shard, FRAMES_STAGE) == record


def test_masks_are_pending_again_when_their_frames_changed(tmp_path: Path) -> None:
    store = make_store(tmp_path, 3)
    fill_store(store)
    shard = store.shards("test")[0]
    masks_record = store.folder.read(commit_name(shard, masks_stage(MASKS)))
    fill_shard(store, shard, failed=frozenset({1}))
    store.folder.write(commit_name(shard, masks_stage(MASKS)), masks_record)
    assert committed(store, shard, FRAMES_STAGE) is not None
    assert committed(store, shard, masks_stage(MASKS)) is None


def test_a_damaged_record_counts_as_none(tmp_path: Path) -> None:
    store = make_store(tmp_path, 3)
    fill_store(store)
    shard = store.shards("test")[0]
    name = commit_name(shard, FRAMES_STAGE)
    store.folder.write(name, store.folder.read(name)[:-7])
    assert committed(store, shard, FRAMES_STAGE) is None
    with pytest.raises(StoreFormatError, match=r"commits/test/frames/00000.parquet was changed since it was written"):
        outcomes_of(store, shard)


def test_shapes_that_do_not_agree_are_refused() -> None:
    with pytest.raises(ValueError, match=r"do not agree on \(num_videos, num_frames\)"):
        ShardFrames(np.zeros((2, 3, 4, 4, 3), np.uint8), np.zeros((2, 4)), np.zeros((2, 3), np.int64))


def test_frames_whose_file_is_gone_are_not_read_as_black(tmp_path: Path) -> None:
    store = make_store(tmp_path, 3)
    fill_store(store)
    store.folder.remove("clips.zarr/test/frames/c.0.0.0.0.0")
    with pytest.raises(ShardIncompleteError, match="as clips.zarr/.*/c.0.0.0.0.0 is missing: run its `fda prepro"):
        ClipReader(store, "test", MASKS)


def test_masks_of_other_frames_are_not_read(tmp_path: Path) -> None:
    store = make_store(tmp_path, 3)
    fill_store(store)
    shard = store.shards("test")[0]
    masks_record = store.folder.read(commit_name(shard, masks_stage(MASKS)))
    fill_shard(store, shard, failed=frozenset({1}))
    store.folder.write(commit_name(shard, masks_stage(MASKS)), masks_record)
    with pytest.raises(ShardIncompleteError, match="as clips.zarr/test/masks/default/c.0.0.0.0 has 206 bytes, not 275"):
        ClipReader(store, "test", MASKS)


def clips_of(rows: range, *, neighbours: bool = False) -> ShardFrames:
    frames = np.stack([clip_frames(row) for row in rows])
    index = np.tile(np.arange(frames.shape[1]), (len(rows), 1))
    return ShardFrames(frames, index / 25, index, frames[..., 1] if neighbours else None)


def test_slots_without_a_frame_are_known(tmp_path: Path) -> None:
    store = make_store(tmp_path, 6)
    fill_store(store)
    shard = store.shards("test")[1]
    clips = clips_of(range(4, 6))
    clips.frames[0, 1:], clips.pts_seconds[0, 1:], clips.frame_index[0, 1:] = 0, np.nan, -1
    inputs = write_frames(store, shard, clips, outcomes(store, shard)).clips.inputs
    write_masks(store, shard, MASKS, np.stack([clip_masks(4), clip_masks(5)]), outcomes(store, shard), inputs)
    batch = ClipReader(store, "test", MASKS).read([5, 4, 0])
    assert batch.is_frame.tolist() == [[True] * 3, [True, False, False], [True] * 3]


def test_neighbours_come_back_where_the_store_has_them(tmp_path: Path) -> None:
    store = make_store(tmp_path, 3, neighbours=True)
    shard = store.shards("test")[0]
    clips = clips_of(range(3), neighbours=True)
    record = write_frames(store, shard, clips, outcomes(store, shard)).record
    assert len(record.files) == 4
    np.testing.assert_array_equal(read_next_grey(store, shard), clips.frames[..., 1])
    np.testing.assert_array_equal(read_frames(store, shard).next_grey, clips.frames[..., 1])
    with pytest.raises(ValueError, match="the store needs next_grey"):
        write_frames(store, shard, clips_of(range(3)), outcomes(store, shard))


def test_a_store_without_neighbours_says_how_to_get_them(tmp_path: Path) -> None:
    store = make_store(tmp_path, 3)
    fill_store(store)
    shard = store.shards("test")[0]
    assert read_frames(store, shard).next_grey is None
    with pytest.raises(NotInStoreError, match="--neighbours"):
        read_next_grey(store, shard)
    with pytest.raises(ValueError, match="has no array for next_grey"):
        write_frames(store, shard, clips_of(range(3), neighbours=True), outcomes(store, shard))
    with pytest.raises(ValueError, match="do not agree on .*height, width"):
        ShardFrames(clips_of(range(2)).frames, np.zeros((2, 3)), np.zeros((2, 3), np.int64), np.zeros((2, 3), np.uint8))


@pytest.mark.parametrize("codec", ["raw", "zstd", "blosc", "jpeg"])
def test_what_is_written_is_what_every_reader_gets(tmp_path: Path, codec: CodecName) -> None:
    store = make_store(tmp_path, 3, frame_codec=codec, neighbours=True)
    shard = store.shards("test")[0]
    clips = clips_of(range(3), neighbours=True)
    clips.frames[1] = np.arange(8, dtype=np.uint8)[:, None] * 30  # smooth: JPEG keeps it almost
    written = write_frames(store, shard, clips, outcomes(store, shard))
    assert (written.clips.frames == clips.frames).all() == (codec != "jpeg")
    assert np.abs(written.clips.frames[1].astype(int) - clips.frames[1]).max() <= 3
    checksums = [outcome.checksum for outcome in written.record.outcomes]
    assert checksums == [slot_checksum(frames) for frames in written.clips.frames]
    write_masks(store, shard, MASKS, clips.frames[..., 0] > 128, outcomes(store, shard), written.clips.inputs)
    readings = (
        read_frames(store, shard).frames,
        ClipReader(store, "test", MASKS, num_threads=3).read(range(3)).frames,
        np.asarray(zarr.open_array(tmp_path / "clips.zarr/test/frames", mode="r")[:]),
    )
    for frames in readings:
        np.testing.assert_array_equal(frames, written.clips.frames)
    np.testing.assert_array_equal(read_next_grey(store, shard), written.clips.next_grey)


@pytest.mark.parametrize("codec", ["raw", "blosc", "jpeg"])
def test_kept_clips_are_stored_byte_for_byte_as_they_were(tmp_path: Path, codec: CodecName) -> None:
    store = make_store(tmp_path, 3, frame_codec=codec)
    shard = store.shards("test")[0]
    clips = clips_of(range(3))
    without = ShardFrames(clips.frames.copy(), clips.pts_seconds.copy(), clips.frame_index.copy())
    without.frames[1], without.pts_seconds[1], without.frame_index[1] = 0, np.nan, -1
    write_frames(store, shard, without, outcomes(store, shard, frozenset({1})))
    again = read_frames(store, shard)
    for old, new in ((again.frames, clips.frames), (again.pts_seconds, clips.pts_seconds),
                     (again.frame_index, clips.frame_index)):  # fmt: skip
        old[1] = new[1]
    write_frames(store, shard, again, outcomes(store, shard), kept_rows=[0, 2])
    at_once = make_store(tmp_path / "at_once", 3, frame_codec=codec)
    write_frames(at_once, shard, clips, outcomes(at_once, shard))
    retried = {name: digest for name, digest in tree_digest(tmp_path).items() if not name.startswith("at_once")}
    assert retried == tree_digest(tmp_path / "at_once")


def test_a_store_of_an_unknown_codec_is_refused(tmp_path: Path) -> None:
    store = make_store(tmp_path, 3)
    manifest = replace(store.manifest, frame_codec="h264")  # type: ignore[arg-type]
    (tmp_path / "store.json").write_bytes(manifest.to_bytes())
    with pytest.raises(StoreFormatError, match="no codec 'h264': use one of raw, zstd, blosc, jpeg"):
        type(store).open(tmp_path)


class Killed(BaseException):
    """Ends a run."""


def test_a_shard_that_was_being_rewritten_when_the_run_was_killed_is_pending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new files have the sizes in the old record."""
    store = make_store(tmp_path, 3)
    fill_store(store)
    shard = store.shards("test")[0]
    clips = read_frames(store, shard)

    def killed(folder: LocalFolder, groups: Sequence[Mapping[str, bytes]]) -> None:
        whole(folder, groups[:1])
        if len(groups) > 1:  # the records are in the second
            raise Killed

    again = replace(clips, frames=255 - clips.frames)
    masks = np.stack([~clip_masks(row) for row in range(3)])
    whole = LocalFolder.write_in_order
    monkeypatch.setattr(LocalFolder, "write_in_order", killed)
    with pytest.raises(Killed):
        write_masks(store, shard, MASKS, masks, outcomes(store, shard), clips.inputs)
    assert committed(store, shard, masks_stage(MASKS)) is None
    assert committed(store, shard, FRAMES_STAGE) is not None
    with pytest.raises(Killed):
        write_frames(store, shard, again, outcomes(store, shard))
    assert committed(store, shard, FRAMES_STAGE) is None


def test_a_shard_that_is_rebuilt_under_a_reader_is_not_read(tmp_path: Path) -> None:
    store = make_store(tmp_path, 6)
    fill_store(store)
    before, other = ClipReader(store, "test", MASKS), ClipReader(store, "test", MASKS)
    before.read([0])  # whose files stay open
    shard = store.shards("test")[0]
    again = replace(clips_of(range(4)), frames=np.full((4, 3, 8, 8, 3), 9, np.uint8))
    written = write_frames(store, shard, again, outcomes(store, shard)).clips
    assert before.read([0]).frames[0, 0, 0, 0, 0] == clip_frames(0)[0, 0, 0, 0]
    for reader in (other, pickle.loads(pickle.dumps(before))):
        for _ in range(2):
            with pytest.raises(ShardIncompleteError, match="was rebuilt while it was read: run the same command"):
                reader.read([0])
    write_masks(store, shard, MASKS, np.stack([clip_masks(row) for row in range(4)]), outcomes(store, shard),
                written.inputs)  # fmt: skip
    assert ClipReader(store, "test", MASKS).read([0]).frames[0, 0, 0, 0, 0] == 9


def test_masks_are_as_old_as_the_frames_they_were_made_of(tmp_path: Path) -> None:
    """Frames that are rebuilt after they were read: the masks written then are older, however late."""
    store = make_store(tmp_path, 3)
    fill_store(store, failed=frozenset({1}))
    shard = store.shards("test")[0]
    masks = np.stack([clip_masks(row) for row in range(3)])
    read = read_frames(store, shard)
    written = write_frames(store, shard, clips_of(range(3)), outcomes(store, shard)).clips
    write_masks(store, shard, MASKS, masks, outcomes(store, shard), read.inputs)
    assert committed(store, shard, masks_stage(MASKS)) is None
    assert written.inputs == input_digests(store, shard, [FRAMES_STAGE]) == read_frames(store, shard).inputs
    write_masks(store, shard, MASKS, masks, outcomes(store, shard), written.inputs)
    assert committed(store, shard, masks_stage(MASKS)) is not None
    with pytest.raises(ValueError, match="masks need the inputs of the frames"):
        write_masks(store, shard, MASKS, masks, outcomes(store, shard), clips_of(range(3)).inputs)


def test_what_is_missing_is_named_with_the_command_that_makes_it(tmp_path: Path) -> None:
    store = make_store(tmp_path, 3)
    fill_store(store)
    shard = store.shards("test")[0]
    by_masks = "has no masks/default yet.* run `fda masks --masks default` with its options, or the `fda preprocess`"
    by_preprocess = "has no frames yet.* run its `fda preprocess` to the end"
    for stage, message in ((masks_stage(MASKS), by_masks), (FRAMES_STAGE, by_preprocess)):
        store.folder.remove(commit_name(shard, stage))
        with pytest.raises(ShardIncompleteError, match=message):
            require_committed(store, shard, stage)
        with pytest.raises(ShardIncompleteError, match=message):
            outcomes_of(store, shard, stage)
        with pytest.raises(ShardIncompleteError, match=message):
            input_digests(store, shard, [stage])
