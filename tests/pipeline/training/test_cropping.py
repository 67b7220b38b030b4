"""A random part of a clip, resized to the whole: the geometry of torchvision, the same for frames and masks."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.training.augment import augment
from pipeline.training.cropping import Crop, crop_frames, crop_masks, draw_crop
from pipeline.training.options import BatchOptions

CROPS = [Crop(0, 0, 32, 32), Crop(3, 5, 20, 24), Crop(11, 0, 21, 17), Crop(31, 31, 1, 1), Crop(0, 7, 32, 25)]


@given(st.integers(1, 300), st.integers(1, 300), st.floats(0.01, 1), st.integers(0, 100))
def test_a_part_lies_in_its_picture(height: int, width: int, least_area: float, seed: int) -> None:
    crop = draw_crop(height, width, least_area, np.random.default_rng(seed))
    assert 0 <= crop.top < crop.top + crop.height <= height
    assert 0 <= crop.left < crop.left + crop.width <= width


def test_parts_are_drawn_as_torchvision_draws_them() -> None:
    """Over many draws: areas and sides' ratios are those of `RandomResizedCrop.get_params`, written out."""
    rng = np.random.default_rng(0)
    found = [draw_crop(224, 224, 0.5, rng) for _ in range(4000)]
    expected = [get_params(np.random.default_rng([1, number])) for number in range(4000)]
    for measure in (
        lambda crop: crop.height * crop.width / 224**2,
        lambda crop: math.log(crop.width / crop.height),
        lambda crop: crop.top / max(1, 224 - crop.height),
        lambda crop: crop.left / max(1, 224 - crop.width),
    ):
        ours, theirs = (np.sort([measure(crop) for crop in some]) for some in (found, expected))
        assert np.abs(ours - theirs).mean() < 0.02
    assert min(crop.height * crop.width for crop in found) >= 0.495 * 224**2
    assert all(0.74 <= crop.width / crop.height <= 1.35 for crop in found)


def get_params(rng: np.random.Generator) -> Crop:
    """torchvision 0.20, transforms.py, of a square picture."""
    for _ in range(10):
        target_area = 224 * 224 * rng.uniform(0.5, 1.0)
        aspect_ratio = math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
        w, h = round(math.sqrt(target_area * aspect_ratio)), round(math.sqrt(target_area / aspect_ratio))
        if 0 < w <= 224 and 0 < h <= 224:
            return Crop(int(rng.integers(0, 224 - h + 1)), int(rng.integers(0, 224 - w + 1)), h, w)
    return Crop(0, 0, 224, 224)


@pytest.mark.parametrize("crop", CROPS)
def test_frames_are_resized_as_torchvision_resizes_tensors(crop: Crop) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    part = torch.from_numpy(frames).permute(0, 3, 1, 2)[
        :, :, crop.top : crop.top + crop.height, crop.left : crop.left + crop.width
    ]
    # torchvision's resize of a tensor, which is never made smaller here
    resized = torch.nn.functional.interpolate(part.float(), (32, 32), mode="bilinear", align_corners=False)
    crop_frames(frames, crop)
    np.testing.assert_allclose(frames, resized.permute(0, 2, 3, 1).numpy(), atol=1.01)


@pytest.mark.parametrize("crop", CROPS)
def test_masks_follow_their_frames(crop: Crop) -> None:
    masks = np.random.default_rng(1).random((2, 32, 32)) < 0.3
    rows = crop.top + np.floor((np.arange(32) + 0.5) * crop.height / 32).astype(int)
    columns = crop.left + np.floor((np.arange(32) + 0.5) * crop.width / 32).astype(int)
    expected = masks[:, rows][:, :, columns]
    found = masks.copy()
    crop_masks(found, crop)
    assert np.array_equal(found, expected)
    soft = np.where(masks, 255, 0).astype(np.uint8)
    crop_masks(soft, crop)
    frames = np.repeat(np.where(masks, 255, 0).astype(np.uint8)[..., None], 3, axis=-1)
    crop_frames(frames, crop)
    assert np.array_equal(soft, frames[..., 0])


@pytest.mark.parametrize("align_masks", [True, False])
def test_a_crop_and_a_flip_take_the_masks_along_or_leave_them(align_masks: bool) -> None:
    masks = np.zeros((2, 64, 64), dtype=np.bool_)
    masks[:, 20:40, 10:34] = True
    frames = np.repeat(np.where(masks, 255, 0).astype(np.uint8)[..., None], 3, axis=-1)
    options = BatchOptions(crop=0.5, flip=1.0, align_masks=align_masks)
    for seed in range(20):
        changed, found = frames.copy(), masks.copy()
        augment(changed, found, options, np.random.default_rng(seed), 16)
        if align_masks:
            assert np.mean((changed[..., 0] > 127) != found) < 0.01  # the bright square is under its mask
        else:
            assert np.array_equal(found, masks)
            assert not np.array_equal(changed, frames)
        assert np.array_equal(changed[0], changed[1])  # one crop for all frames
