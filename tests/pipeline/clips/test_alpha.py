"""What goes into the alpha channel, on stores made by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.clips.alpha import AlphaClips, shuffled_rows
from pipeline.clips.options import AlphaSource
from store.clips.reader import ClipReader
from store.clips.shards import ShardFrames, write_masks
from store.errors import NotInStoreError
from tests.stores import MASKS, NUM_FRAMES, clip_frames, clip_masks, fill_store, make_store, outcomes, write_frames


@given(rows=st.sets(st.integers(0, 1000), min_size=2, max_size=40), seed=st.integers(0, 2**32))
def test_shuffling_is_one_cycle_through_all_rows(rows: set[int], seed: int) -> None:
    shuffled = shuffled_rows(sorted(rows), seed)
    assert set(shuffled) == set(shuffled.values()) == rows
    row, visited = min(rows), set()
    while row not in visited:
        visited.add(row)
        row = shuffled[row]
    assert visited == rows  # so no row keeps its own
    assert shuffled == shuffled_rows(sorted(rows), seed)


@pytest.mark.parametrize("rows", [[], [3]])
def test_fewer_than_two_rows_cannot_be_shuffled(rows: list[int]) -> None:
    with pytest.raises(ValueError, match=f"masks cannot be shuffled among {len(rows)} clips?: it takes two"):
        shuffled_rows(rows, 0)


def test_seeds_shuffle_otherwise() -> None:
    assert len({tuple(shuffled_rows(range(20), seed).items()) for seed in range(5)}) == 5


@pytest.fixture
def reader(tmp_path: Path) -> ClipReader:
    store = make_store(tmp_path, 6)
    fill_store(store, failed=frozenset({2}))
    return ClipReader(store, "test", MASKS)


@pytest.mark.parametrize("source", AlphaSource)
def test_frames_are_the_same_whatever_the_alpha(reader: ClipReader, source: AlphaSource) -> None:
    clips = AlphaClips(reader, source).read([4, 0])
    np.testing.assert_array_equal(clips.frames, np.stack([clip_frames(4), clip_frames(0)]))
    assert clips.video_ids == ("-vidéo_4", "-vidéo_0")
    assert clips.masks.dtype == np.bool_
    assert clips.masks.shape == clips.frames.shape[:-1]


def test_masks_are_the_clips_own(reader: ClipReader) -> None:
    clips = AlphaClips(reader, AlphaSource.MASKS).read([4, 0])
    np.testing.assert_array_equal(clips.masks, np.stack([clip_masks(4), clip_masks(0)]))


def test_ones_and_zeros(reader: ClipReader) -> None:
    assert AlphaClips(reader, AlphaSource.ONES).read([4, 0]).masks.all()
    assert not AlphaClips(reader, AlphaSource.ZEROS).read([4, 0]).masks.any()


def test_shuffled_masks_are_those_of_another_clip_that_is_there(reader: ClipReader) -> None:
    rows = [0, 1, 3, 4, 5]
    clips = AlphaClips(reader, AlphaSource.SHUFFLED, seed=3).read(rows)
    owners = shuffled_rows(rows, 3)
    np.testing.assert_array_equal(clips.masks, np.stack([clip_masks(owners[row]) for row in rows]))
    # whichever rows are read together, a clip gets the same masks
    np.testing.assert_array_equal(AlphaClips(reader, AlphaSource.SHUFFLED, seed=3).read([4]).masks[0], clips.masks[3])


@pytest.mark.parametrize("source", AlphaSource)
def test_a_row_without_a_video_is_refused(reader: ClipReader, source: AlphaSource) -> None:
    with pytest.raises(NotInStoreError, match="row 2 of split 'test' has no video"):
        AlphaClips(reader, source).read([0, 2])


def test_masks_of_a_clip_of_fewer_frames_are_repeated_from_its_first(tmp_path: Path) -> None:
    store = make_store(tmp_path, 2)
    (shard,) = store.shards("test")
    index = np.tile(np.arange(NUM_FRAMES), (2, 1))
    index[1, NUM_FRAMES - 1 :] = -1
    frames = np.stack([clip_frames(0), clip_frames(1)])
    masks = np.stack([clip_masks(0), clip_masks(1)])
    masks[1, NUM_FRAMES - 1 :] = False
    clips = ShardFrames(frames, np.where(index < 0, np.nan, index / 25), index)
    written = write_frames(store, shard, clips, outcomes(store, shard))
    write_masks(store, shard, MASKS, masks, outcomes(store, shard), written.clips.inputs)
    shuffled = AlphaClips(ClipReader(store, "test", MASKS), AlphaSource.SHUFFLED).read([0, 1]).masks
    np.testing.assert_array_equal(shuffled[0], [*masks[1, :-1], masks[1, 0]])
    np.testing.assert_array_equal(shuffled[1], masks[0])
