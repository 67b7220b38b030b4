"""Masks against a background: what moves is covered as a whole, whatever the camera and the light do."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.errors import OptionError
from pipeline.masks.clips import clip_masks
from pipeline.masks.lighting import levels_after, light_change
from pipeline.masks.motions import camera_path, moved_corners
from pipeline.masks.options import GROUND, Compensation, Cuts, Difference, Fill, MaskOptions, ThresholdMode
from pipeline.masks.shots import Shot
from pipeline.video.grey import grey_of
from store.clips.layout import Masks, moving
from tests.filming import SIZE, circling, filmed, ground
from tests.pipeline.masks.test_masks import clips
from tests.reference_backgrounds import background_reference

BACKGROUND = MaskOptions(difference=Difference.BACKGROUND)
REGISTERED = MaskOptions(difference=Difference.REGISTERED)
AUTO = MaskOptions(difference=Difference.AUTO)
AGAINST = [BACKGROUND, REGISTERED, AUTO]
MOVING_CAMERAS = [{"pan": 3.0}, {"pan": 12.0}, {"zoom": 1.05, "pan": 2.0}, {"turn": 3.0}]


def overlap(masks: Masks, discs: NDArray[np.bool_]) -> float:
    return float(np.mean([(m & d).sum() / (m | d).sum() for m, d in zip(masks > 0, discs, strict=True)]))


@settings(max_examples=25, deadline=None)
@given(
    clips(),
    st.sampled_from([3.0, 15.0, 60.0]),
    st.sampled_from([1, 3]),
    st.sampled_from([0, 16]),
    st.sampled_from(Fill),
)
def test_the_same_bits_as_the_plain_definition(
    frames: NDArray[np.uint8], threshold: float, kernel_size: int, min_area: int, fill: Fill
) -> None:
    options = replace(BACKGROUND, threshold=threshold, kernel_size=kernel_size, min_area=min_area, fill=fill)
    options = replace(options, cuts=Cuts.IGNORE)
    np.testing.assert_array_equal(clip_masks(frames, options).masks, background_reference(frames, options))


@pytest.mark.parametrize(("num_frames", "size"), [(3, 64), (6, 65), (12, 64)])
def test_the_same_bits_where_a_thing_stays(num_frames: int, size: int) -> None:
    frames, squares = circling(num_frames, radius=7.0, size=size, side=18)
    masks = clip_masks(frames, BACKGROUND).masks
    np.testing.assert_array_equal(masks, background_reference(frames, replace(BACKGROUND, cuts=Cuts.IGNORE)))
    assert overlap(masks, squares) > 0.7


@pytest.mark.parametrize("options", AGAINST)
@pytest.mark.parametrize("radius", [7.0, 10.0])
def test_a_thing_that_stays_for_most_of_the_frames_is_covered_as_a_whole(options: MaskOptions, radius: float) -> None:
    frames, squares = circling(radius=radius)
    assert overlap(clip_masks(frames, options).masks, squares) > 0.75


@pytest.mark.parametrize("options", AGAINST)
@pytest.mark.parametrize("left", [105, 96, 73])
def test_a_still_thing_that_is_hidden_for_a_moment_or_not_at_all_does_not_move(options: MaskOptions, left: int) -> None:
    """A post of the mover's own colour: in its way, at the edge of it, and where it goes around."""
    frames, squares = circling(radius=32.0, size=160)
    post = np.zeros(squares.shape[1:], dtype=np.bool_)
    post[73:87, left : left + 14] = True
    for frame, square in zip(frames, squares, strict=True):
        frame[post & ~square] = (45, 185, 55)
    masks = np.asarray(clip_masks(frames, options).masks, dtype=np.bool_)
    assert overlap(masks, squares) > 0.75
    is_alone = ~squares[:, post].any(axis=1)
    assert is_alone.sum() > 6
    assert masks[is_alone][:, post].mean() < 0.1


def test_a_whole_object_without_the_ghost_of_where_it_was() -> None:
    frames, discs = filmed(step=30)
    assert overlap(clip_masks(frames, MaskOptions()).masks, discs) < 0.6
    for options in AGAINST:
        assert overlap(clip_masks(frames, options).masks, discs) > 0.9


@pytest.mark.parametrize("camera", MOVING_CAMERAS)
def test_the_motion_of_the_camera_is_taken_out(camera: dict[str, float]) -> None:
    frames, discs = filmed(step=16, num_frames=6, noise=3, **camera)
    registered, auto = clip_masks(frames, REGISTERED), clip_masks(frames, AUTO)
    assert overlap(registered.masks, discs) > 0.8
    assert auto.summary.picked == Difference.REGISTERED
    np.testing.assert_array_equal(auto.masks, registered.masks)
    assert registered.summary.num_unregistered == 0
    assert clip_masks(frames, BACKGROUND).summary.coverage > 1.3 * registered.summary.coverage


def test_auto_keeps_to_the_median_where_the_camera_rests() -> None:
    frames, _ = filmed(step=16, num_frames=6, noise=3)
    auto = clip_masks(frames, AUTO)
    assert auto.summary.picked == Difference.BACKGROUND
    np.testing.assert_array_equal(auto.masks, clip_masks(frames, BACKGROUND).masks)
    assert clip_masks(frames, BACKGROUND).summary.picked is None
    assert clip_masks(frames, BACKGROUND).summary.num_unregistered is None


def test_auto_asks_most_frames_whether_the_camera_rests() -> None:
    def seen(places: list[int]) -> NDArray[np.uint8]:
        return np.stack([ground()[120 : 120 + SIZE, 60 + place : 60 + place + SIZE] for place in places])

    options = replace(AUTO, cuts=Cuts.IGNORE)
    begins_late = seen([0] * 5 + [12, 24, 36])
    assert clip_masks(begins_late, options).summary.picked == Difference.REGISTERED
    hidden_once = seen([0] * 12)
    hidden_once[3] = ground(5)[:SIZE, :SIZE]  # something close to the camera
    assert clip_masks(hidden_once, options).summary.picked == Difference.BACKGROUND


def test_a_long_pan_is_divided_so_that_no_background_grows_without_end() -> None:
    side = 64
    greys = [grey_of(np.ascontiguousarray(ground()[100 : 100 + side, x : x + side])) for x in range(0, 336, 12)]
    path = camera_path(greys, [Shot(0, len(greys))], [False] * len(greys))
    assert len(path.runs) > 1
    assert [run.start for run in path.runs] == [0, *(run.stop for run in path.runs[:-1])]
    assert path.runs[-1].stop == len(greys)
    for run in path.runs:
        corners = moved_corners(np.linalg.inv(run.motions).astype(np.float64), side, side)
        assert np.prod(corners.max(axis=(0, 1)) - corners.min(axis=(0, 1)) + 1) <= 4 * side**2


@pytest.mark.parametrize("options", AGAINST)
def test_one_frame_has_an_empty_mask_and_two_frames_each_other(options: MaskOptions) -> None:
    frames, discs = filmed(step=60, num_frames=2)
    assert not clip_masks(frames[:1], options).masks.any()
    masks = clip_masks(frames, options).masks
    assert (masks[0] & discs[0]).sum() > 0.9 * discs[0].sum()
    assert (masks[1] & discs[1]).sum() > 0.9 * discs[1].sum()
    assert masks.mean() < 0.2


@pytest.mark.parametrize("options", AGAINST)
def test_a_change_of_the_light_moves_nothing(options: MaskOptions) -> None:
    frames, discs = filmed(step=18, num_frames=6)
    lit = np.stack([np.clip(frame * (1 - 0.3 * (t % 2)), 0, 255).astype(np.uint8) for t, frame in enumerate(frames)])
    assert clip_masks(lit, MaskOptions(threshold=15)).summary.coverage > 0.5
    assert overlap(clip_masks(lit, options).masks, discs) > 0.8


def test_the_light_is_found_whatever_moves() -> None:
    background = np.random.default_rng(0).integers(40, 160, (64, 64)).astype(np.uint8)
    picture = levels_after(1.2, -9.0)[background]
    picture[10:40, 10:50] = 255
    found = light_change(background, picture)
    assert found is not None
    assert found[0] == pytest.approx(1.2, abs=0.005)
    assert found[1] == pytest.approx(-9.0, abs=0.5)
    background[10:40, 10:50] = 255
    assert light_change(background, background) is None
    assert light_change(np.full((8, 8), 9, np.uint8), np.full((8, 8), 99, np.uint8)) == (1.0, 90.0)


def test_colour_alone_is_seen() -> None:
    frames = np.full((5, 64, 64, 3), 120, np.uint8)
    for t in range(5):
        frames[t, 20:40, 4 + 10 * t : 20 + 10 * t] = (180, 105, 82)  # as light as the ground
    greys = np.abs(np.diff(frames @ np.array([0.299, 0.587, 0.114]), axis=0))
    assert greys.max() < 7
    assert not clip_masks(frames, MaskOptions(threshold=15)).masks.any()
    for t, mask in enumerate(clip_masks(frames, BACKGROUND).masks):
        assert mask[20:40, 4 + 10 * t : 20 + 10 * t].mean() > 0.9


def test_frames_that_have_nothing_in_common_are_compared_as_they_are_and_counted() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    made = clip_masks(noise, replace(REGISTERED, cuts=Cuts.IGNORE))
    assert made.summary.num_unregistered == 2
    assert made.summary.coverage > 0.5


def test_noise_raises_the_threshold() -> None:
    frames, discs = filmed(step=18, num_frames=6, noise=14)
    options = replace(BACKGROUND, threshold_mode=ThresholdMode.NOISE, min_area=0, kernel_size=1)
    assert clip_masks(frames, replace(options, threshold_mode=ThresholdMode.FIXED)).masks[~discs].mean() > 0.02
    assert clip_masks(frames, options).masks[~discs].mean() < 0.002


@pytest.mark.parametrize("fill", Fill)
@pytest.mark.parametrize("difference", [Difference.SAMPLED, Difference.AUTO])
def test_soft_masks_move_where_binary_ones_do(difference: Difference, fill: Fill) -> None:
    frames, _ = filmed(3.0, num_frames=5, noise=4)
    options = MaskOptions(difference=difference, fill=fill)
    binary, soft = clip_masks(frames, options), clip_masks(frames, replace(options, soft=True))
    np.testing.assert_array_equal(moving(soft.masks), binary.masks)
    assert soft.summary == binary.summary
    assert len(np.unique(soft.masks)) > 3


def test_hysteresis_covers_what_only_half_of_the_threshold_tells() -> None:
    frames = np.full((5, 64, 64, 3), 100, np.uint8)
    for t in range(5):
        frames[t, 20:44, 10 * t : 10 * t + 12] = 140
        frames[t, 20:44, 10 * t + 12 : 10 * t + 22] = 110
    frames[0, 50:60, 50:60] = 110
    plain, grown = (clip_masks(frames, replace(BACKGROUND, fill=fill)).masks for fill in (Fill.NONE, Fill.HYSTERESIS))
    assert not plain[0, 24:40, 13:19].any()
    assert grown[0, 24:40, 13:19].all()
    assert not grown[0, 50:60, 50:60].any()


# Options


def test_defaults_depend_on_what_a_frame_is_compared_with() -> None:
    paper = MaskOptions()
    assert (paper.threshold, paper.fill, paper.cuts) == (25.0, Fill.NONE, Cuts.IGNORE)
    assert (AUTO.threshold, AUTO.fill, AUTO.cuts) == (15.0, Fill.HYSTERESIS, Cuts.DIFFERENCE)
    chosen = MaskOptions(difference=Difference.AUTO, threshold=9, fill=Fill.NONE, cuts=Cuts.IGNORE)
    assert (chosen.threshold, chosen.fill, chosen.cuts) == (9.0, Fill.NONE, Cuts.IGNORE)


def test_a_mask_set_is_what_it_was_before_there_were_these_options() -> None:
    old = {"threshold", "kernel_size", "min_area", "difference", "compensation", "threshold_mode", "noise_sigmas"}
    old |= {"noise_floor", "when_empty", "when_full", "full_coverage"}
    assert set(MaskOptions().identity()) == old
    assert set(MaskOptions(fill=Fill.BOTH).identity()) == old | {"fill"}
    assert set(AUTO.identity()) == old | {"fill", "cuts", GROUND}
    for options in (MaskOptions(), MaskOptions(cuts=Cuts.DIFFERENCE), replace(AUTO, fill=Fill.NONE), AUTO):
        identity = {name: value for name, value in options.identity().items() if name != GROUND}
        assert MaskOptions(**identity) == options  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"difference": "auto", "compensation": Compensation.SIMILARITY}, "'auto' takes no compensation"),
        ({"difference": "consecutive", "cuts": "difference"}, "cuts between the frames of a clip do not matter"),
        ({"fill": "holes"}, "fill must be one of .*contours.*, got 'holes'"),
        ({"cuts": "all"}, "cuts must be one of .*content.*, got 'all'"),
    ],
)
def test_what_does_not_fit_together_is_refused(arguments: dict[str, str], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        MaskOptions(**arguments)  # type: ignore[arg-type]
