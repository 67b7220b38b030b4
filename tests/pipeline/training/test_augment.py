"""Clips that are changed at random: frames and masks together, each clip for itself, nothing where nothing is asked."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.clips.alpha import random_areas
from pipeline.training.augment import augment, shifted
from pipeline.training.options import BatchOptions
from store.clips.reader import ClipBatch


def clips(count: int = 3, size: int = 16) -> ClipBatch:
    """Each pixel of the first colour says where it was; the masks are the pixels whose place is a multiple of 3."""
    places = (
        np.arange(size * size, dtype=np.uint8).reshape(size, size) if size <= 16 else np.zeros((size, size), np.uint8)
    )
    frames = np.repeat(np.broadcast_to(places, (count, 2, size, size))[..., None], 3, axis=-1).copy()
    return ClipBatch(
        video_ids=tuple(map(str, range(count))),
        rows=np.arange(count),
        frames=frames,
        masks=frames[..., 0] % 3 == 0,
        is_frame=np.ones((count, 2), dtype=bool),
    )


def changed(options: BatchOptions, seed: int = 0, batch: ClipBatch | None = None, block_size: int = 4) -> ClipBatch:
    batch = clips() if batch is None else batch
    for number, (frames, masks) in enumerate(zip(batch.frames, batch.masks, strict=True)):
        augment(frames, masks, options, np.random.default_rng([seed, number]), block_size)
    return batch


def test_by_default_nothing_changes() -> None:
    found, before = changed(BatchOptions()), clips()
    assert np.array_equal(found.frames, before.frames)
    assert np.array_equal(found.masks, before.masks)


def test_a_flip_mirrors_frames_and_masks() -> None:
    found, before = changed(BatchOptions(flip=1.0)), clips()
    assert np.array_equal(found.frames, before.frames[:, :, :, ::-1])
    assert np.array_equal(found.masks, before.masks[:, :, :, ::-1])


@given(seed=st.integers(0, 200))
def test_frames_and_masks_are_shifted_together(seed: int) -> None:
    found = changed(BatchOptions(frame_jitter=5, flip=0.5), seed)
    # Wherever a mask is set, the pixel under it is one that had a mask.
    assert (found.frames[..., 0][found.masks] % 3 == 0).all()
    assert not np.array_equal(found.frames, clips().frames)


@given(down=st.integers(-20, 20), right=st.integers(-20, 20))
def test_what_is_shifted_is_there_and_what_is_not_is_the_edge_or_the_filling(down: int, right: int) -> None:
    picture = np.arange(1, 31).reshape(1, 5, 6)
    edge, filled = shifted(picture, (down, right)), shifted(picture, (down, right), fill=False)
    for row in range(5):
        for column in range(6):
            source = row - down, column - right
            inside = 0 <= source[0] < 5 and 0 <= source[1] < 6
            nearest = min(max(source[0], 0), 4), min(max(source[1], 0), 5)
            assert edge[0, row, column] == picture[0][nearest]
            assert filled[0, row, column] == (picture[0][source] if inside else 0)


def test_mask_jitter_moves_masks_alone() -> None:
    found = changed(BatchOptions(mask_jitter=3))
    assert np.array_equal(found.frames, clips().frames)
    assert not np.array_equal(found.masks, clips().masks)


def test_dropout_clears_whole_blocks() -> None:
    batch = replace(clips(40), masks=np.ones((40, 2, 16, 16), dtype=bool))
    found = changed(BatchOptions(mask_dropout=0.25), batch=batch, block_size=5).masks
    assert 0.15 < 1 - found.mean() < 0.35
    for top in range(0, 16, 5):
        for left in range(0, 16, 5):
            block = found[:, :, top : top + 5, left : left + 5].reshape(40, 2, -1)
            assert (block.all(axis=2) | ~block.any(axis=2)).all()


def test_all_ones_now_and_then() -> None:
    found = changed(BatchOptions(alpha_ones=0.3), batch=clips(200)).masks
    share = found.all(axis=(1, 2, 3)).mean()
    assert 0.2 < share < 0.4


def test_a_clip_is_changed_the_same_whoever_stands_beside_it() -> None:
    options = BatchOptions(flip=0.5, frame_jitter=4, mask_jitter=2, mask_dropout=0.2, alpha_ones=0.2)
    whole, alone = changed(options, batch=clips(5)), clips(1)
    augment(alone.frames[0], alone.masks[0], options, np.random.default_rng([0, 3]), 4)
    assert np.array_equal(whole.frames[3], alone.frames[0])
    assert np.array_equal(whole.masks[3], alone.masks[0])


@pytest.mark.parametrize("values", [{"flip": 1.5}, {"mask_jitter": -1}, {"captions": "some"}, {"same_video": "x"}])
def test_options_out_of_range_are_named(values: dict[str, object]) -> None:
    (name,) = values
    with pytest.raises(ValueError, match=f"{name} must be "):
        BatchOptions(**values)  # type: ignore[arg-type]


@given(height=st.integers(1, 24), width=st.integers(1, 24), share=st.floats(0, 1), seed=st.integers(0, 50))
def test_a_random_area_is_a_rectangle_of_the_masks_area(height: int, width: int, share: float, seed: int) -> None:
    masks = np.random.default_rng(seed).random((2, height, width)) < share
    areas = random_areas(masks, np.random.default_rng(seed))
    for mask, area in zip(masks, areas, strict=True):
        rows, columns = area.any(axis=1).sum(), area.any(axis=0).sum()
        assert area.sum() == rows * columns  # a rectangle
        assert bool(area.any()) == bool(mask.any())
        assert abs(int(area.sum()) - int(mask.sum())) <= max(rows, columns)
    assert np.array_equal(areas, random_areas(masks, np.random.default_rng(seed)))


def test_soft_masks_change_as_binary_ones_do() -> None:
    options = BatchOptions(flip=0.5, frame_jitter=3, mask_jitter=2, mask_dropout=0.2, alpha_ones=0.2)
    soft = replace(clips(40), masks=np.where(clips(40).masks, 255, 0).astype(np.uint8))
    found, expected = changed(options, batch=soft), changed(options, batch=clips(40))
    assert found.masks.dtype == np.uint8
    assert np.array_equal(found.masks, np.where(expected.masks, 255, 0))
    assert np.array_equal(found.frames, expected.frames)
