from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from pipeline.video.resizing import crop_start, resize_and_crop, resized_shape


def torchvision_reference(rgb: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """`Compose([Resize(size, BICUBIC), CenterCrop(size)])` on a PIL picture, retold from torchvision 0.20's source.

    `functional._compute_resized_output_size`, `functional.center_crop` and `_functional_pil.resize`/`crop`.
    """
    picture = Image.fromarray(rgb)
    w, h = picture.size
    short, long = (w, h) if w <= h else (h, w)
    new_short, new_long = size, int(size * long / short)
    new_w, new_h = (new_short, new_long) if w <= h else (new_long, new_short)
    picture = picture.resize((new_w, new_h), Image.Resampling.BICUBIC)
    image_width, image_height = picture.size
    crop_top = round((image_height - size) / 2.0)
    crop_left = round((image_width - size) / 2.0)
    return np.array(picture.crop((crop_left, crop_top, crop_left + size, crop_top + size)))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_it_is_what_torchvision_does_with_pil(height: int, width: int, size: int, seed: int) -> None:
    rgb = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    made = resize_and_crop(rgb, size)
    assert made.shape == (size, size, 3)
    assert made.flags.c_contiguous
    np.testing.assert_array_equal(made, torchvision_reference(rgb, size))


@pytest.mark.parametrize("shape", [(360, 640), (640, 360), (224, 224), (240, 320), (720, 1280), (101, 225)])
def test_the_usual_sizes(shape: tuple[int, int]) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    np.testing.assert_array_equal(resize_and_crop(rgb, 224), torchvision_reference(rgb, 224))


def test_a_square_of_the_right_size_is_untouched() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    np.testing.assert_array_equal(resize_and_crop(rgb, 24), rgb)


def test_a_picture_in_turned_memory_is_read_right() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (30, 50, 3), dtype=np.uint8)
    np.testing.assert_array_equal(resize_and_crop(rgb[::-1], 16), resize_and_crop(rgb[::-1].copy(), 16))


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(1, 500))
def test_the_crop_lies_inside(height: int, width: int, size: int) -> None:
    resized = resized_shape(height, width, size)
    assert min(resized) == size
    for length in resized:
        start = crop_start(length, size)
        assert 0 <= start <= start + size <= length
        assert math.isclose(start, (length - size) / 2, abs_tol=0.5)


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match=r"got \(4, 4\)"):
        resize_and_crop(np.zeros((4, 4), np.uint8), 2)
    with pytest.raises(ValueError, match="float32"):
        resize_and_crop(np.zeros((4, 4, 3), np.float32), 2)
    with pytest.raises(ValueError, match="0x4"):
        resize_and_crop(np.zeros((0, 4, 3), np.uint8), 2)
    with pytest.raises(ValueError, match="cannot crop 5 out of 4"):
        crop_start(4, 5)
