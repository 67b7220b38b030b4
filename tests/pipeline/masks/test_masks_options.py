"""The options beyond the paper's: neighbours, compensation, noise, rules for empty and full masks, statistics."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.masks.clips import clip_masks
from pipeline.masks.comparison import noise_sigma
from pipeline.masks.options import Compensation, Difference, MaskOptions, ThresholdMode, WhenEmpty, WhenFull
from tests.filming import filmed, ground, right_and_wrong
from tests.videos import textured_frames

PLAIN = MaskOptions()
MOVING = [Compensation.TRANSLATION, Compensation.SIMILARITY]


# Neighbours in the video


def test_consecutive_compares_each_frame_with_its_neighbour() -> None:
    frames = textured_frames(3, height=40, width=48, seed=0)
    next_grey = np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames])
    next_grey[0, 4:20, 4:20] = 255 - next_grey[0, 4:20, 4:20] // 4
    next_grey[2, 10:40, 10:40] = next_grey[2, 10:40, 10:40] // 4
    options = MaskOptions(difference=Difference.CONSECUTIVE, kernel_size=1, min_area=0, threshold=30)
    made = clip_masks(frames, options, next_grey)
    grey = np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]).astype(int)
    np.testing.assert_array_equal(made.masks, np.abs(grey - next_grey) > 30)
    assert made.masks[[0, 2]].any(axis=(1, 2)).all()
    assert made.summary.num_empty == 1
    one = clip_masks(frames[:1], options, next_grey[:1])
    np.testing.assert_array_equal(one.masks[0], made.masks[0])


def test_consecutive_without_neighbours_or_with_wrong_ones_is_refused() -> None:
    frames, options = np.zeros((2, 8, 8, 3), np.uint8), MaskOptions(difference=Difference.CONSECUTIVE)
    with pytest.raises(ValueError, match="give next_grey"):
        clip_masks(frames, options)
    with pytest.raises(ValueError, match=r"next_grey of shape \(2, 8, 8\) uint8, got \(1, 8, 8\)"):
        clip_masks(frames, options, np.zeros((1, 8, 8), np.uint8))


# Compensation


@pytest.mark.parametrize("compensation", MOVING)
@pytest.mark.parametrize("pan", [0.0, 3.0, 11.0, 30.0])
def test_a_pan_is_removed(compensation: Compensation, pan: float) -> None:
    frames, discs = filmed(pan)
    plain = clip_masks(frames, PLAIN)
    made = clip_masks(frames, replace(PLAIN, compensation=compensation))
    assert made.summary.num_unregistered == 0
    assert plain.summary.num_unregistered is None
    right, wrong = right_and_wrong(made.masks, discs, pan)
    assert right > 0.7
    assert wrong < 0.002
    assert right_and_wrong(plain.masks, discs, pan)[1] > (0.05 if pan > 3 else -1)


@pytest.mark.parametrize(("zoom", "turn"), [(1.06, 0.0), (0.95, 0.0), (1.0, 4.0), (1.03, -3.0)])
def test_a_zoom_and_a_rotation_are_removed_by_a_similarity(zoom: float, turn: float) -> None:
    frames, discs = filmed(4.0, zoom, turn)
    made = clip_masks(frames, replace(PLAIN, compensation=Compensation.SIMILARITY))
    assert made.summary.num_unregistered == 0
    right, wrong = right_and_wrong(made.masks, discs, 4.0)
    assert right > 0.7
    assert wrong < 0.002
    assert right_and_wrong(clip_masks(frames, PLAIN).masks, discs, 4.0)[1] > 0.008


def test_pixels_without_a_counterpart_take_no_part() -> None:
    frames = np.stack([ground()[100:260, 100 + 20 * t : 260 + 20 * t] for t in range(3)])
    made = clip_masks(frames, replace(PLAIN, compensation=Compensation.TRANSLATION, threshold=10, kernel_size=1))
    assert made.summary.num_unregistered == 0
    assert made.summary.num_empty == 3  # the 20 columns that only one frame of each pair shows among them
    assert clip_masks(frames, PLAIN).summary.coverage > 0.2


@pytest.mark.parametrize("compensation", MOVING)
def test_what_cannot_be_registered_is_compared_as_it_is_and_counted(compensation: Compensation) -> None:
    rng = np.random.default_rng(0)
    cuts = rng.integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)  # nothing in common
    made = clip_masks(cuts, replace(PLAIN, compensation=compensation))
    assert made.summary.num_unregistered == 2
    np.testing.assert_array_equal(made.masks, clip_masks(cuts, PLAIN).masks)
    flat = np.zeros((2, 64, 64, 3), np.uint8)
    flat[1, 20:40, 20:40] = 255  # no ground to hold on to: what moves must not be taken for the camera
    made = clip_masks(flat, replace(PLAIN, compensation=compensation))
    assert made.summary.num_unregistered == 1
    np.testing.assert_array_equal(made.masks, clip_masks(flat, PLAIN).masks)


@pytest.mark.parametrize("compensation", MOVING)
def test_the_same_input_gives_the_same_bytes(compensation: Compensation) -> None:
    frames, _ = filmed(7.0, 1.02, 1.0, noise=3)
    options = replace(PLAIN, compensation=compensation, threshold_mode=ThresholdMode.NOISE)
    first, second = clip_masks(frames, options), clip_masks(frames.copy(), options)
    assert first.masks.tobytes() == second.masks.tobytes()
    assert first.summary == second.summary


# Noise


@pytest.mark.parametrize("sigma", [2.0, 5.0, 12.0])
def test_the_noise_of_a_difference_is_found_whatever_moves(sigma: float) -> None:
    rng = np.random.default_rng(0)
    before, after = (np.clip(128 + rng.normal(0, sigma, (128, 128)), 0, 255).round().astype(np.uint8) for _ in "ab")
    after[:, :80] //= 2  # more than half of the picture changes
    before[:, :80] //= 2
    after[20:100, 10:70] += 60
    assert noise_sigma(before[:, 80:], after[:, 80:]) == pytest.approx(sigma * 2**0.5, rel=0.1)
    moved = np.roll(after, 3, axis=1)
    moved[20:100, 90:120] += 90
    assert noise_sigma(before[:, 80:], moved[:, 80:]) == pytest.approx(sigma * 2**0.5, rel=0.35)


def test_the_threshold_follows_the_noise_and_never_falls_below_the_floor() -> None:
    noise = replace(PLAIN, threshold_mode=ThresholdMode.NOISE, kernel_size=1, min_area=0)
    faint = np.full((2, 64, 64, 3), 100, np.uint8)
    faint[1, 20:40, 20:40] = 109
    assert not clip_masks(faint, PLAIN).masks.any()
    assert clip_masks(faint, noise).masks[0].sum() == 400  # no noise: the floor of 8 grey levels decides
    faint[1, 20:40, 20:40] = 108
    assert not clip_masks(faint, noise).masks.any()
    rng = np.random.default_rng(0)
    noisy = np.clip(128 + np.repeat(rng.normal(0, 14, (2, 64, 64, 1)), 3, axis=3), 0, 255).astype(np.uint8)
    assert clip_masks(noisy, replace(noise, threshold_mode=ThresholdMode.FIXED)).masks.mean() > 0.1
    assert clip_masks(noisy, noise).masks.mean() < 0.001
    assert clip_masks(noisy, replace(noise, noise_sigmas=1.0)).masks.mean() > 0.2


# Rules, and statistics


def rule_clip() -> NDArray[np.uint8]:
    """Pairs that differ nowhere, in 4 x 4 of 8 x 8 pixels, in 60 of 64, and everywhere; the last mask is repeated."""
    frames = np.zeros((5, 8, 8, 3), np.uint8)
    frames[2, :4, :4] = 100
    frames[3] = frames[2]
    frames[3, :, :] += 60
    frames[3, 7, :4] -= 60
    frames[4] = frames[3] + 60
    return frames


RAW = MaskOptions(kernel_size=1, min_area=0)


def test_the_statistics_are_those_of_the_masks_before_the_rules() -> None:
    kept = clip_masks(rule_clip(), RAW)
    assert [int(mask.sum()) for mask in kept.masks] == [0, 16, 60, 64, 64]
    assert (kept.summary.num_masks, kept.summary.num_empty, kept.summary.num_full) == (5, 1, 3)
    assert kept.summary.coverage == pytest.approx(204 / 320)
    assert kept.summary.components == pytest.approx(4 / 5)
    ruled = clip_masks(rule_clip(), replace(RAW, when_empty=WhenEmpty.ONES, when_full=WhenFull.ZEROS))
    assert ruled.summary == kept.summary


@pytest.mark.parametrize(
    ("when_empty", "when_full", "full_coverage", "areas"),
    [
        (WhenEmpty.ONES, WhenFull.KEEP, 0.9, [64, 16, 60, 64, 64]),
        (WhenEmpty.KEEP, WhenFull.ONES, 0.9, [0, 16, 64, 64, 64]),
        (WhenEmpty.KEEP, WhenFull.ZEROS, 0.9, [0, 16, 0, 0, 0]),
        (WhenEmpty.KEEP, WhenFull.ZEROS, 1.0, [0, 16, 60, 0, 0]),
        (WhenEmpty.ONES, WhenFull.ZEROS, 0.25, [64, 0, 0, 0, 0]),
    ],
)
def test_the_rules_for_empty_and_full_masks(
    when_empty: WhenEmpty, when_full: WhenFull, full_coverage: float, areas: list[int]
) -> None:
    options = replace(RAW, when_empty=when_empty, when_full=when_full, full_coverage=full_coverage)
    assert [int(mask.sum()) for mask in clip_masks(rule_clip(), options).masks] == areas


def test_masks_are_written_into_out() -> None:
    out = np.zeros((2, *rule_clip().shape[:3]), np.bool_)
    clip_masks(rule_clip(), RAW, out=out[1])
    assert not out[0].any()
    np.testing.assert_array_equal(out[1], clip_masks(rule_clip(), RAW).masks)


@pytest.mark.parametrize(
    ("camera", "moves"),
    [
        ({}, False),
        ({"noise": 8.0}, False),
        ({"step": 30}, False),
        ({"pan": 4.0}, True),
        ({"pan": 25.0}, True),
        ({"zoom": 1.06}, True),
        ({"turn": 4.0}, True),
    ],
)
def test_a_camera_that_moves_is_told_from_a_still_one(camera: dict[str, float], moves: bool) -> None:
    assert clip_masks(filmed(**camera)[0], PLAIN).summary.camera_motion is moves  # type: ignore[arg-type]


def test_a_flat_border_does_not_count() -> None:
    frames = np.full((3, 64, 64, 3), 90, np.uint8)
    frames[1, 20:40, 20:40] = 250
    assert clip_masks(frames, PLAIN).summary.camera_motion is None
    assert clip_masks(frames[:1], PLAIN).summary.camera_motion is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"noise_sigmas": 0.0}, "noise_sigmas must be over 0 and at most 1000, got 0.0"),
        ({"noise_floor": 256.0}, "noise_floor must be in 0..255 grey levels, got 256.0"),
        ({"full_coverage": 0.0}, "full_coverage must be over 0 and at most 1, got 0.0"),
        ({"full_coverage": float("nan")}, "got nan"),
    ],
)
def test_wrong_options_are_named(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MaskOptions(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["kernel_size", "min_area"])
def test_whole_numbers_are_whole(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be a whole number, got 6.5"):
        MaskOptions(**{name: 6.5})  # type: ignore[arg-type]
