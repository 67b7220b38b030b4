"""Each factor does what its number says, and nothing else; camera motion is rigid and exact; order counts."""

from __future__ import annotations

import hashlib
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import fda
from pipeline.errors import InputError, OptionError
from pipeline.synthetic.bounds import best_bound, orderless_bound, single_frame_bound
from pipeline.synthetic.camera import camera_path, margin_of
from pipeline.synthetic.costs import cost_of
from pipeline.synthetic.factors import FACTORS, PICTURE_FACTORS, Settings
from pipeline.synthetic.options import Codec, GenerateOptions
from pipeline.synthetic.planning import ClipPlan, plan_clips, plan_split
from pipeline.synthetic.rendering import render
from pipeline.synthetic.suites import AMOUNTS, Size, Suite
from tests.stores import tree_digest
from tests.videos import Encoding, write_video


def first(**factors: str | float) -> tuple[GenerateOptions, ClipPlan]:
    options = GenerateOptions(size="tiny", factors=factors)  # type: ignore[arg-type]  # a text for an enumeration
    return options, next(clip for clip in plan_clips(options) if clip.split == "test")


def rendered(**factors: str | float) -> tuple[NDArray[np.uint8], NDArray[np.bool_], NDArray[np.float64]]:
    options, plan = first(**factors)
    frames = list(render(plan, options.amount))
    return (
        np.stack([frame.rgb for frame in frames]),
        np.stack([frame.mask for frame in frames]),
        np.stack([frame.view for frame in frames]),
    )


def centroids(masks: NDArray[np.bool_]) -> NDArray[np.float64]:
    return np.stack([np.argwhere(mask).mean(axis=0) for mask in masks])


@pytest.mark.parametrize("level", ["slow", "medium", "fast"])
@pytest.mark.parametrize("other", [{}, {"distractors": "many"}, {"size": "large"}])
def test_a_mover_is_as_fast_as_its_number_says(level: str, other: dict[str, str]) -> None:
    """Six times the number, in pixels a frame, drawn from 0.7 to 1.3 of it; on any orbit."""
    _, masks, _ = rendered(speed=level, **other)
    steps = np.linalg.norm(np.diff(centroids(masks), axis=0), axis=1)
    wanted = 6 * FACTORS["speed"].levels[level]
    assert 0.55 * wanted < steps.mean() < 1.5 * wanted  # orbits differ by an eighth


def test_sizes_noise_and_light() -> None:
    areas = [rendered(size=level)[1][0].sum() for level in ("small", "medium", "large")]
    assert 3 < areas[1] / areas[0] < 5.5
    assert 1.3 < areas[2] / areas[1] < 2
    for level in (2.0, 10.0):
        still, noisy = (rendered(noise=noise, texture=0)[0][:, 70:74, 2:8].astype(float) for noise in (0, level))
        assert np.ptp(still) == 0
        assert noisy.std() == pytest.approx(level, rel=0.15)
    steady, lit = (
        rendered(flicker=level, noise=0)[0][:, :20, :20].mean(axis=(1, 2, 3)) for level in ("none", "strong")
    )
    assert np.ptp(steady) == 0
    assert 0.25 < np.ptp(lit) / steady[0] < 0.75  # from 1 - 1.5 * 0.25 to 1 + 1.5 * 0.25 at the very most


def test_cuts_are_where_all_of_the_picture_changes() -> None:
    frames, masks, _ = rendered(cuts=3, noise=0)
    changed = [(np.abs(two.astype(int) - one).max(axis=-1) > 2).mean() for one, two in pairwise(frames)]
    assert sum(share > 0.5 for share in changed) == 3
    assert sum(share < 0.2 for share in changed) == 20
    assert masks.any(axis=(1, 2)).all()


@pytest.mark.parametrize(
    "factors", [{"pan": "strong"}, {"zoom": "strong"}, {"shake": "strong"}, {"pan": 0.3, "shake": 0.01}]
)
def test_the_camera_moves_ground_and_objects_as_one(factors: dict[str, str | float]) -> None:
    """A frame that is moved as the views say is the later frame, but for what moves and what came into the picture."""
    frames, masks, views = rendered(noise=0, texture=20, **factors)
    square = [np.vstack([view, [0, 0, 1]]) for view in views]
    for start, stop in ((0, 4), (10, 16), (18, 23)):
        moved = square[stop] @ np.linalg.inv(square[start])
        warp = {"dsize": frames.shape[2:0:-1], "flags": cv2.INTER_CUBIC}
        expected = cv2.warpAffine(frames[start], moved[:2], **warp)  # type: ignore[call-overload]
        inside = cv2.warpAffine(np.ones(frames.shape[1:3], np.uint8), moved[:2], **warp) == 1  # type: ignore[call-overload]
        moving = cv2.warpAffine(masks[start].astype(np.uint8), moved[:2], **warp) > 0  # type: ignore[call-overload]
        moving = cv2.dilate((moving | masks[stop]).astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
        compared = cv2.erode((inside & ~moving).astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
        error = np.abs(expected.astype(int) - frames[stop].astype(int)).max(axis=-1)[compared]
        unmoved = np.abs(frames[start].astype(int) - frames[stop].astype(int)).max(axis=-1)[compared]
        assert compared.mean() > 0.3
        assert error.mean() < 2.5  # cubic filters twice, and edges of objects
        assert error.mean() < 0.25 * unmoved.mean()


@given(seed=st.integers(0, 10_000), distractors=st.integers(1, 8), lookalikes=st.sampled_from([0.0, 0.5, 1.0]))
@settings(max_examples=30)
def test_objects_are_of_different_kinds_however_alike(seed: int, distractors: int, lookalikes: float) -> None:
    factors = {"distractors": distractors, "lookalikes": lookalikes}
    options = GenerateOptions(seed=seed, num_train=1, num_eval=3, factors=factors)
    for clip in plan_clips(options):
        kinds = clip.story.kinds
        assert len(set(kinds)) == len(kinds) == distractors + 1
        if lookalikes == 1:
            side = int(np.ceil(np.sqrt(len(kinds))))
            assert max(len({kind[place] for kind in kinds}) for place in (0, 1)) <= side


def test_pairs_of_long_clips_differ_in_the_order_of_their_events_alone() -> None:
    options = GenerateOptions("long", "tiny")  # type: ignore[arg-type]
    for spec in options.splits:
        if spec.name.startswith("test"):
            clips = list(plan_split(options, spec))
            assert {len(clip.story.events) for clip in clips} == set(spec.event_counts)
            for event, after in (pair for clip in clips for pair in pairwise(clip.story.events)):
                assert event.end_seconds <= after.start_seconds
                assert event.index != after.index
            assert best_bound(clips) == 100
            if spec.event_counts != (1,):
                assert orderless_bound(clips) <= 50
                for one, two in zip(clips[::2], clips[1::2], strict=True):
                    assert (one.story.kinds, one.settings) == (two.story.kinds, two.settings)
                    assert one.story.caption.split(", then ") == two.story.caption.split(", then ")[::-1]


@pytest.mark.parametrize("number", [3, 5])
def test_the_opposite_order_of_events_is_another_one(number: int) -> None:
    options = GenerateOptions(size=Size.TINY, num_train=64, factors={"events": number})
    for clip in plan_clips(options):
        order = [event.index for event in clip.story.events]
        assert clip.story.rests or order != order[::-1]


def test_most_clips_of_a_mix_have_the_usual_level_of_a_factor_and_some_have_each_other() -> None:
    train = [
        clip.settings for clip in plan_clips(GenerateOptions(suite=Suite.FACTORS, num_train=400, num_eval=1))[:400]
    ]
    for name in PICTURE_FACTORS:
        levels = [getattr(settings, name) for settings in train]
        assert set(levels) == set(FACTORS[name].levels.values())
        assert 0.6 < levels.count(FACTORS[name].default) / len(levels) < 0.8


def test_the_bound_of_single_frames_weighs_clips_by_how_much_might_move_in_them() -> None:
    clips = plan_clips(GenerateOptions(suite=Suite.FACTORS, num_train=1, num_eval=24))
    mixed = [clip for clip in clips if clip.split == "val"]
    assert len({len(clip.story.kinds) for clip in mixed}) > 1
    chances = []
    for clip in mixed:
        weights = [1 / len(other.story.kinds) for other in mixed if clip.story.kinds[0] in other.story.kinds]
        chances.append(max(weights) / sum(weights))
    assert single_frame_bound(mixed) == pytest.approx(100 * np.mean(chances))


def test_the_ground_reaches_as_far_as_the_camera_sees_and_a_hand_turns_as_it_shifts() -> None:
    amount, moving = AMOUNTS[Size.SMALL], Settings(pan=0.1, zoom=0.3, shake=0.025)
    path = camera_path(np.random.default_rng(0), moving, 360, amount)
    assert path is not None
    ends = np.array([[0, 0], [amount.width, 0], [0, amount.height], [amount.width, amount.height]])
    seen = np.stack([(ends - view[:, 2]) @ np.linalg.inv(view[:, :2]).T for view in path])
    margin = margin_of(path, amount)
    assert -margin < seen.min()
    assert (seen < np.array([amount.width, amount.height]) + margin).all()
    angles = np.arctan2(path[:, 1, 0], path[:, 0, 0])
    assert np.sqrt(np.mean(angles**2)) == pytest.approx(0.025, rel=0.4)


def test_noise_and_quality_cost_bytes() -> None:
    def gigabytes(**factors: str) -> float:
        options = GenerateOptions(size=Size.TINY, factors=factors)
        return cost_of(options, plan_clips(options)).estimated_gb

    assert gigabytes(noise="none") < gigabytes() < gigabytes(noise="strong") / 4
    assert 1.5 * gigabytes(compression="strong") < gigabytes() < gigabytes(compression="none") / 1.5


def test_what_rests_is_never_told_to_move() -> None:
    options = GenerateOptions("static", "tiny", factors={"events": 3})  # type: ignore[arg-type]
    for clip in plan_clips(options):
        if clip.story.rests:
            assert 0 not in clip.story.movers
            assert clip.story.caption.endswith("is resting")
    still = [clip for clip in plan_clips(options) if clip.split == "test-static"]
    assert single_frame_bound(still) <= best_bound(still) <= 100


def test_factors_that_contradict_each_other() -> None:
    for factors, message in (
        ({"distractors": 0}, "names objects that rest: set distractors to 1 or more"),
        ({"distractors": 0, "events": 2}, "2 events need at least 2 objects"),
        ({"distractors": 1, "events": 3}, "3 events need at least 3 objects"),
        ({"events": 16}, r"16 events in 2 s: some would be shorter than a frame. Set seconds to 2.9 or more"),
    ):
        with pytest.raises(OptionError, match=message):
            plan_clips(GenerateOptions(factors=factors))


@pytest.mark.parametrize("codec", list(Codec))
def test_every_codec_gives_the_same_bytes_again(codec: Codec, tmp_path: Path) -> None:
    options = GenerateOptions(num_train=1, num_eval=1, codec=codec, factors={"seconds": 0.5, "pan": "strong"})
    for name in "ab":
        fda.generate(tmp_path / name, options, workers=0)
    assert tree_digest(tmp_path / "a") == tree_digest(tmp_path / "b")
    with av.open(tmp_path / "a/videos/test_00000.mp4") as container:
        assert container.streams.video[0].codec_context.name.removeprefix("libvpx-") == codec
        assert sum(1 for _ in container.decode(video=0)) == 6


def test_grounds_of_ones_own(tmp_path: Path) -> None:
    pictures = np.repeat(np.arange(0, 240, 10, dtype=np.uint8), 100 * 80 * 3).reshape(24, 80, 100, 3)
    (tmp_path / "mine/more").mkdir(parents=True)
    write_video(tmp_path / "mine/more/grey.mp4", pictures, Encoding(rate=Fraction(12)))
    for name in ("a", "b", "c"):  # so many that some clip begins with one of them, and goes on to the next
        (tmp_path / f"mine/{name}.mp4").write_bytes(b"no video")
    shown = {}
    for motion in fda.BackgroundMotion:
        options = GenerateOptions(num_train=1, num_eval=1, background=tmp_path / "mine", background_motion=motion)
        fda.generate(tmp_path / motion, options, workers=0)
        with av.open(tmp_path / motion / "videos/test_00000.mp4") as container:
            corners = [frame.to_ndarray(format="rgb24")[:10, :10].mean() for frame in container.decode(video=0)]
        with np.load(tmp_path / motion / "truth/test_00000.npz") as truth:
            shown[motion] = corners, hashlib.sha256(truth["masks"].tobytes()).hexdigest()
        assert (tmp_path / motion / "clips.jsonl").read_text().count('"background": "more/grey.mp4"') == 4
    (frozen, truth_of_frozen), (moving, truth_of_moving) = shown.values()
    assert max(frozen) - min(frozen) < 6
    assert moving == pytest.approx(np.arange(0, 240, 10), abs=8)
    assert truth_of_frozen == truth_of_moving
    (tmp_path / "mine/third.mp4").write_bytes(b"another")
    with pytest.raises(InputError, match="has a data set of other options: background is"):
        fda.generate(tmp_path / "moving", options, workers=0)


def test_folders_without_a_ground(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    with pytest.raises(InputError, match="contains no video to be a background"):
        fda.generate(tmp_path / "out", GenerateOptions(background=tmp_path / "mine"))
    (tmp_path / "mine/broken.mp4").write_bytes(b"no video")
    with pytest.raises(InputError, match=r"no background of 1 tried can be decoded; broken\.mp4"):
        fda.generate(tmp_path / "out", GenerateOptions(background=tmp_path / "mine"), workers=0)
