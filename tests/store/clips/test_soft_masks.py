"""Soft masks in a store: written, read by every reader, verified, and beside binary ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import zarr
from numpy.typing import NDArray

from pipeline.clips.alpha import AlphaClips, shuffled_rows
from pipeline.clips.dataset import ClipDataset
from pipeline.clips.options import AlphaSource
from store.arrays.shards import ArraySpec
from store.clips.layout import levels, moving
from store.clips.mask_sets import mask_set_files, stored_masks_spec
from store.clips.reader import ClipReader
from store.clips.shards import create_mask_arrays, write_masks
from store.completion import input_digests
from store.errors import ShardIncompleteError, StoreMismatchError
from store.own_files import remove_own
from store.stages import FRAMES_STAGE
from store.store import Store
from store.verify.verification import verify
from store.view import StoreView
from tests.stores import MASKS, SIZE, clip_frames, clip_masks, fill_store, make_store, outcomes

SOFT = "soft"


def soft_masks(row: int) -> NDArray[np.uint8]:
    masks: NDArray[np.uint8] = clip_frames(row)[..., 1] // 50 * 51  # 0, 51, ..., 255
    return masks


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store with a binary mask set and a soft one."""
    store = make_store(tmp_path, 6)
    fill_store(store)
    create_mask_arrays(store, SOFT, {"options": {"threshold": 25, "soft": True}}, soft=True)
    for shard in store.shards("test"):
        masks = np.stack([soft_masks(row) for row in range(shard.start, shard.stop)])
        inputs = input_digests(store, shard, [FRAMES_STAGE])
        write_masks(store, shard, SOFT, masks, outcomes(store, shard), inputs)
    return store


def test_every_reader_gives_the_bytes_that_were_written(store: Store) -> None:
    expected = np.stack([soft_masks(4), soft_masks(0)])
    reader = ClipReader(store, "test", SOFT)
    view = StoreView(store)
    for found in (reader.read([4, 0]).masks, reader.read_masks([4, 0]), view.masks([4, 0], SOFT, split="test")):
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(ClipDataset(store, "test", SOFT)[4]["masks"], soft_masks(4))
    array = zarr.open_array(f"{store.place}/clips.zarr/test/masks/{SOFT}", mode="r")
    assert array.dtype == np.uint8
    np.testing.assert_array_equal(np.asarray(array[4]), soft_masks(4))


def test_binary_masks_beside_them_stay_binary(store: Store) -> None:
    masks = ClipReader(store, "test", MASKS).read([4]).masks
    assert masks.dtype == np.bool_
    np.testing.assert_array_equal(masks[0], clip_masks(4))
    assert [stored_masks_spec(store, "test", name).dtype for name in (MASKS, SOFT)] == ["bool", "uint8"]


@pytest.mark.parametrize("name", [MASKS, SOFT])
def test_masks_of_the_other_kind_are_not_written(store: Store, name: str) -> None:
    with pytest.raises(StoreMismatchError, match="was made with other options"):
        create_mask_arrays(store, name, {"options": {"threshold": 25}}, soft=name == MASKS)
    shard = store.shards("test")[0]
    wrong = np.zeros((shard.num_rows, *soft_masks(0).shape), np.uint8 if name == MASKS else np.bool_)
    with pytest.raises(ValueError, match="needs (bool|uint8) of shape"):
        write_masks(store, shard, name, wrong, outcomes(store, shard), input_digests(store, shard, [FRAMES_STAGE]))


def test_verify_finds_nothing_in_them_and_every_change_of_them(store: Store) -> None:
    before = verify(store.folder).findings  # of the catalogue, which is made by hand
    assert not [finding for finding in before if finding.stage and "masks" in finding.stage]
    path = next(Path(store.place).glob(f"clips.zarr/test/masks/{SOFT}/c.*"))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert {finding.stage for finding in set(verify(store.folder).findings) - set(before)} == {f"masks/{SOFT}"}


def rebuild_as_the_other_kind(store: Store, name: str) -> None:
    shard, is_soft = store.shards("test")[0], stored_masks_spec(store, "test", name).dtype == "uint8"
    inputs = input_digests(store, shard, [FRAMES_STAGE])
    remove_own(store.folder, mask_set_files(store, name))
    create_mask_arrays(store, name, {"options": {}}, soft=not is_soft)
    masks = np.stack([soft_masks(row) for row in range(shard.start, shard.stop)])
    write_masks(store, shard, name, moving(masks) if is_soft else masks, outcomes(store, shard), inputs)


@pytest.mark.parametrize("name", [MASKS, SOFT])
def test_a_set_that_is_rebuilt_as_the_other_kind_is_not_called_damaged(
    store: Store, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = ClipReader(store, "test", name)
    rebuild_as_the_other_kind(store, name)
    for read in (reader.read, reader.read_masks):
        with pytest.raises(ShardIncompleteError, match="was rebuilt while it was read"):
            read([0])
    asked = []

    def found_late(store: Store, split: str, name: str) -> ArraySpec:
        spec = stored_masks_spec(store, split, name)
        asked.append(spec)
        if len(asked) == 2:  # the records of the view's masks are read by now
            rebuild_as_the_other_kind(store, name)
        return spec

    monkeypatch.setattr("store.view.stored_masks_spec", found_late)
    with pytest.raises(ShardIncompleteError):
        StoreView(store).masks([0], name, split="test")


def test_controls_of_soft_masks_are_worth_what_they_say(store: Store) -> None:
    reader, rows = ClipReader(store, "test", SOFT), [0, 1, 4]
    found = {source: AlphaClips(reader, source).read(rows).masks for source in AlphaSource if source != "shuffled"}
    assert (levels(found[AlphaSource.ONES]) == 255).all()
    assert not found[AlphaSource.ZEROS].any()
    own, areas = found[AlphaSource.MASKS], found[AlphaSource.RANDOM_AREA]
    assert own.dtype == areas.dtype == np.uint8
    assert set(np.unique(areas)) <= {0, 255}
    # A rectangle has the mean of its mask, as nearly as whole pixels and the picture's sides allow.
    assert np.abs(own.mean(axis=(2, 3)) - areas.mean(axis=(2, 3))).max() <= 255 / SIZE / 2
    givers = shuffled_rows(sorted(reader.video_ids), 0)
    shuffled = AlphaClips(reader, AlphaSource.SHUFFLED).read(rows).masks
    np.testing.assert_array_equal(shuffled, np.stack([soft_masks(givers[row]) for row in rows]))


def test_either_kind_as_what_moves_and_as_levels() -> None:
    soft = np.array([[0, 127, 128, 255]], np.uint8)
    np.testing.assert_array_equal(moving(soft), [[False, False, True, True]])
    np.testing.assert_array_equal(levels(soft), soft)
    np.testing.assert_array_equal(levels(moving(soft)), [[0, 0, 255, 255]])
    assert levels(moving(soft)).dtype == np.uint8
