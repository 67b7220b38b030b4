"""Soft masks: their values, and that they are the binary masks wherever they are cut at one half."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.masks.clips import clip_masks
from pipeline.masks.options import Compensation, Difference, Fill, MaskOptions, ThresholdMode, WhenEmpty, WhenFull
from pipeline.masks.soft import likelihoods
from store.clips.layout import moving
from tests.pipeline.masks.test_masks import clip_of, clips
from tests.reference_masks import likelihood, soft_reference

SOFT = MaskOptions(soft=True)


@pytest.mark.parametrize("threshold", [0.5, 12.5, 15.0, 25.0, 100.0, 255.0])
def test_a_value_is_the_share_of_thresholds_that_a_difference_exceeds(threshold: float) -> None:
    np.testing.assert_array_equal(likelihoods(threshold), likelihood(np.arange(256, dtype=np.int16), threshold))


@given(st.floats(0, 1000))
def test_likelihood_grows_with_the_difference_and_is_one_half_at_the_threshold(threshold: float) -> None:
    values, difference = likelihoods(threshold), np.arange(256)
    assert values[0] == 0
    assert (np.diff(values.astype(int)) >= 0).all()
    np.testing.assert_array_equal(values >= 128, difference > threshold)
    assert (values[difference <= threshold / 2] == 0).all()
    assert (values[difference >= 2 * threshold][1:] == 255).all()


@settings(max_examples=60, deadline=None)
@given(
    clips(),
    st.sampled_from([0.0, 12.5, 25.0, 50.0, 255.0]),
    st.sampled_from([1, 3, 5]),
    st.sampled_from([0, 2, 16, 64]),
)
def test_the_same_bytes_as_scikit_image(
    frames: NDArray[np.uint8], threshold: float, kernel_size: int, min_area: int
) -> None:
    options = MaskOptions(threshold=threshold, kernel_size=kernel_size, min_area=min_area, soft=True)
    masks = clip_masks(frames, options).masks
    assert masks.dtype == np.uint8
    if threshold:
        np.testing.assert_array_equal(masks, soft_reference(frames, options))
    else:
        assert set(np.unique(masks)) <= {0, 255}


@settings(max_examples=60, deadline=None)
@given(
    frames=clips(),
    compensation=st.sampled_from(Compensation),
    mode=st.sampled_from(ThresholdMode),
    when_empty=st.sampled_from([WhenEmpty.KEEP, WhenEmpty.ONES]),
    when_full=st.sampled_from(WhenFull),
    min_area=st.sampled_from([0, 16]),
)
def test_at_one_half_it_is_the_binary_mask_and_all_statistics_are_its(
    frames: NDArray[np.uint8],
    compensation: Compensation,
    mode: ThresholdMode,
    when_empty: WhenEmpty,
    when_full: WhenFull,
    min_area: int,
) -> None:
    binary = MaskOptions(
        kernel_size=3,
        min_area=min_area,
        compensation=compensation,
        threshold_mode=mode,
        when_empty=when_empty,
        when_full=when_full,
        full_coverage=0.5,
    )
    soft, hard = clip_masks(frames, replace(binary, soft=True)), clip_masks(frames, binary)
    np.testing.assert_array_equal(moving(soft.masks), hard.masks)
    if compensation is Compensation.NONE:
        assert soft.summary == hard.summary


@pytest.mark.parametrize("fill", Fill)
@pytest.mark.parametrize("difference", [Difference.BACKGROUND, Difference.REGISTERED, Difference.AUTO])
def test_so_it_is_of_every_kind_of_difference_filled_or_not(difference: Difference, fill: Fill) -> None:
    ground = np.random.default_rng(0).integers(90, 130, (64, 64)).astype(np.uint8)
    levels = []
    for step in range(5):
        moved = ground.copy()
        moved[8:24, 4 + 10 * step : 20 + 10 * step] += 18  # faint
        moved[40:56, 4 + 10 * step : 20 + 10 * step] += 90
        levels.append(moved)
    binary = MaskOptions(difference=difference, fill=fill, kernel_size=3, min_area=16)
    soft, hard = clip_masks(clip_of(*levels), replace(binary, soft=True)), clip_masks(clip_of(*levels), binary)
    np.testing.assert_array_equal(moving(soft.masks), hard.masks)
    assert soft.summary == hard.summary
    assert hard.masks.any()
    assert ((soft.masks > 0) & (soft.masks < 255)).any()


def test_what_rests_is_zero_and_what_is_faint_is_told() -> None:
    still, moved = np.zeros((64, 64), np.uint8), np.zeros((64, 64), np.uint8)
    for row, level in enumerate((12, 18, 25, 26, 35, 60)):
        moved[row * 10 : row * 10 + 9, 20:40] = level
    masks = clip_masks(clip_of(still, moved, moved), replace(SOFT, kernel_size=1)).masks
    values = [int(masks[0][row * 10 + 4, 30]) for row in range(6)]
    assert values[0] == 0
    assert values[2:4] == [127, 135]
    assert values == sorted(set(values))
    assert values[5] == 255
    assert not masks[1:].any()
    assert not masks[0][:, :20].any()


def test_small_components_fall_out_at_every_level() -> None:
    still, moved = np.zeros((64, 64), np.uint8), np.zeros((64, 64), np.uint8)
    moved[10:40, 10:40] = 20  # large and faint
    moved[20:25, 20:25] = 200  # on it, a bright speck that is too small
    moved[50:55, 50:55] = 200  # and one alone
    mask = clip_masks(clip_of(still, moved), replace(SOFT, kernel_size=1)).masks[0]
    faint = likelihoods(25.0)[20]
    assert set(np.unique(mask)) <= {0, faint, faint // 32 * 32 + 31}
    assert not mask[45:].any()
    assert mask[22, 22] < 128


def test_what_replaces_an_empty_or_a_full_mask_is_sure() -> None:
    still, all_moved = np.zeros((32, 32), np.uint8), np.full((32, 32), 200, np.uint8)
    faint = np.full((32, 32), 18, np.uint8)
    options = replace(SOFT, when_empty=WhenEmpty.ONES, when_full=WhenFull.ZEROS)
    made = clip_masks(clip_of(still, faint, all_moved), options)
    assert (made.masks[0] == 255).all()  # nothing is more likely to move than not
    assert not made.masks[1:].any()
    assert (made.summary.num_empty, made.summary.num_full) == (1, 2)


def test_an_empty_mask_is_stretched_to_what_is_faint() -> None:
    still, faint, moved = np.zeros((32, 32), np.uint8), np.zeros((32, 32), np.uint8), np.full((32, 32), 200, np.uint8)
    faint[4:14, 4:14], faint[16:26, 16:26] = 15, 20
    options = replace(SOFT, when_empty=WhenEmpty.STRETCH, kernel_size=1)
    made = clip_masks(clip_of(still, faint, faint, moved), options)
    low, high = (int(likelihoods(25.0)[level]) for level in (15, 20))
    assert high < 128
    assert set(np.unique(made.masks[0])) == {0, round(255 * low / high), 255}
    assert (made.masks[0][16:26, 16:26] == 255).all()
    assert (made.masks[1] == 255).all()  # nothing at all moves: the whole picture
    np.testing.assert_array_equal(made.masks[2], clip_masks(clip_of(faint, moved), SOFT).masks[0])
    assert made.summary.num_empty == 2
    with pytest.raises(ValueError, match="'stretch' needs soft masks"):
        MaskOptions(when_empty=WhenEmpty.STRETCH)


def test_only_soft_masks_name_it_among_their_options() -> None:
    assert SOFT.identity()["soft"] is True
    assert "soft" not in MaskOptions().identity()  # mask sets of before go on
