from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.masks.clips import clip_masks
from pipeline.masks.options import MaskOptions
from tests.reference_masks import ELLIPSES, reference


def clip_of(*levels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Grey pictures (height, width) as RGB frames."""
    return np.stack([np.repeat(level[..., None], 3, axis=2) for level in levels])


@st.composite
def clips(draw: st.DrawFn) -> NDArray[np.uint8]:
    """Noise, or rectangles that move over noise, at the border too."""
    num_frames, height, width = draw(st.integers(1, 4)), draw(st.integers(1, 40)), draw(st.integers(1, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    strength = draw(st.sampled_from([1, 40, 256]))
    frames = rng.integers(0, strength, (num_frames, height, width, 3)).astype(np.uint8)
    for _ in range(draw(st.integers(0, 3))):
        top, left = int(rng.integers(0, height)), int(rng.integers(0, width))
        size, step = int(rng.integers(1, 20)), int(rng.integers(0, 9))
        for t, frame in enumerate(frames):
            frame[top : top + size, left + t * step : left + t * step + size] = rng.integers(0, 256, 3)
    return frames


@settings(max_examples=150, deadline=None)
@given(
    clips(),
    st.sampled_from([0.0, 12.5, 25.0, 50.0, 100.0, 255.0]),
    st.sampled_from([1, 3, 5]),
    st.sampled_from([0, 1, 2, 16, 64, 200]),
)
def test_the_same_bits_as_scikit_image(
    frames: NDArray[np.uint8], threshold: float, kernel_size: int, min_area: int
) -> None:
    options = MaskOptions(threshold=threshold, kernel_size=kernel_size, min_area=min_area)
    masks = clip_masks(frames, options).masks
    assert masks.dtype == np.bool_
    np.testing.assert_array_equal(masks, reference(frames, options))


@pytest.mark.parametrize(("side", "cell"), [(96, 2), (520, 2)])  # more components than fit a byte, and than fit 16 bits
def test_masks_of_very_many_components_too(side: int, cell: int) -> None:
    still, dots = np.zeros((side, side), np.uint8), np.zeros((side, side), np.uint8)
    dots[::cell, ::cell] = 200
    dots[:3, :3] = 200
    options = MaskOptions(kernel_size=1, min_area=2)
    made = clip_masks(clip_of(still, dots), options)
    np.testing.assert_array_equal(made.masks, reference(clip_of(still, dots), options))
    assert made.masks[0].sum() > 3
    everything = clip_masks(clip_of(still, dots), MaskOptions(kernel_size=1, min_area=0))
    np.testing.assert_array_equal(everything.masks[0], dots > 0)
    assert everything.summary.components == (side // cell) ** 2 - 3


@pytest.mark.parametrize("size", sorted(ELLIPSES))
def test_the_grey_of_every_colour_is_opencvs(size: int) -> None:
    rng = np.random.default_rng(size)
    frames = rng.integers(0, 256, (2, 224, 224, 3), dtype=np.uint8)
    options = MaskOptions(threshold=60, kernel_size=size, min_area=3)
    np.testing.assert_array_equal(clip_masks(frames, options).masks, reference(frames, options))


@pytest.mark.parametrize(
    ("threshold", "difference", "moved"), [(25, 25, False), (25, 26, True), (12.5, 12, False), (12.5, 13, True)]
)
def test_a_pixel_moves_above_the_threshold(threshold: float, difference: int, *, moved: bool) -> None:
    before = np.full((20, 20), 100, np.uint8)
    after = np.full((20, 20), 100 - difference, np.uint8)  # darker: the difference is absolute
    assert bool(clip_masks(clip_of(before, after), MaskOptions(threshold=threshold)).masks.all()) is moved


@pytest.mark.parametrize(("side", "kept"), [(7, False), (8, True)])
def test_a_component_counts_from_min_area_on(side: int, *, kept: bool) -> None:
    still, moved = np.zeros((32, 32), np.uint8), np.zeros((32, 32), np.uint8)
    moved[10 : 10 + side, 10 : 10 + side] = 200
    mask = clip_masks(clip_of(still, moved), MaskOptions(kernel_size=1, min_area=64)).masks[0]
    assert mask.sum() == (side * side if kept else 0)


def test_components_that_touch_at_a_corner_are_one() -> None:
    still, moved = np.zeros((32, 32), np.uint8), np.zeros((32, 32), np.uint8)
    moved[4:10, 4:10] = moved[10:16, 10:16] = 200
    assert clip_masks(clip_of(still, moved), MaskOptions(kernel_size=1, min_area=72)).masks[0].sum() == 72


def test_the_last_frame_has_the_mask_before_it_and_a_still_clip_none() -> None:
    still, moved = np.zeros((32, 32), np.uint8), np.zeros((32, 32), np.uint8)
    moved[8:24, 8:24] = 200
    masks = clip_masks(clip_of(still, still, moved), MaskOptions()).masks
    assert not masks[0].any()
    assert masks[1].any()
    np.testing.assert_array_equal(masks[2], masks[1])
    assert not clip_masks(clip_of(still, still), MaskOptions()).masks.any()


def test_a_clip_of_one_frame_has_an_empty_mask() -> None:
    assert not clip_masks(np.full((1, 8, 8, 3), 255, np.uint8), MaskOptions(threshold=0, min_area=0)).masks.any()


def test_a_change_everywhere_is_a_full_mask() -> None:
    dark, light = np.zeros((16, 16), np.uint8), np.full((16, 16), 255, np.uint8)
    assert clip_masks(clip_of(dark, light, dark), MaskOptions()).masks.all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"threshold": -1.0}, "got -1.0"),
        ({"threshold": 255.5}, "got 255.5"),
        ({"threshold": float("nan")}, "got nan"),
        ({"kernel_size": 4}, "got 4"),
        ({"kernel_size": 0}, "got 0"),
        ({"min_area": -1}, "got -1"),
    ],
)
def test_wrong_options_are_named(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MaskOptions(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [(2, 4, 4), (2, 4, 4, 4), (0, 4, 4, 3)])
def test_wrong_shapes_are_named(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected \(num_frames, height, width, 3\)"):
        clip_masks(np.zeros(shape, np.uint8), MaskOptions())
