"""Generated data sets: pure, honest (what is said to move moves, and only it), and as real videos with their truth."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import fda
from pipeline.datasets.read import read_dataset
from pipeline.demo.run import demo
from pipeline.errors import InputError, OptionError
from pipeline.masks.clips import clip_masks
from pipeline.masks.options import MaskOptions
from pipeline.synthetic import writing
from pipeline.synthetic.bounds import single_frame_bound
from pipeline.synthetic.clips import write_clip
from pipeline.synthetic.factors import FACTORS, PICTURE_FACTORS
from pipeline.synthetic.options import GenerateOptions
from pipeline.synthetic.planning import ClipPlan, plan_clips, plan_split
from pipeline.synthetic.rendering import RenderedFrame, render
from pipeline.video.decoding import DecodeOptions, decode_clip
from tests.stores import tree_digest

OPTIONS = GenerateOptions(num_train=2, num_eval=1)
DEMO = GenerateOptions()
QUIET = GenerateOptions(factors={"noise": 0})
KINDS = DEMO.amount.kinds
SPLITS = [spec.name for spec in DEMO.splits]

DEMO_CLIPS, QUIET_CLIPS = plan_clips(DEMO), plan_clips(QUIET)
places = st.integers(0, len(DEMO_CLIPS) - 1)


def rendered(options: GenerateOptions, plan: ClipPlan) -> list[RenderedFrame]:
    return list(render(plan, options.amount))


def pictures(frames: Sequence[RenderedFrame]) -> NDArray[np.uint8]:
    return np.stack([frame.rgb for frame in frames])


def masks_of(frames: Sequence[RenderedFrame]) -> NDArray[np.bool_]:
    return np.stack([frame.mask for frame in frames])


def of_split(options: GenerateOptions, name: str) -> list[ClipPlan]:
    return [clip for spec in options.splits if spec.name == name for clip in plan_split(options, spec)]


def test_the_demo_has_the_frames_that_it_always_had() -> None:
    """Published figures are of these: the digests were taken before there were any factors."""
    clips = [pictures(rendered(DEMO, DEMO_CLIPS[place])) for place in (0, 119, 965, 1031)]
    digests = [hashlib.sha256(frames.tobytes()).hexdigest()[:16] for frames in clips]
    assert digests == ["5be70a9b240c14b0", "a93ec918469eef86", "4d2ccc4e22405c44", "6fe9aa5d62df1e30"]


@given(place=places)
@settings(max_examples=5)
def test_rendering_is_pure(place: int) -> None:
    first, second = (rendered(DEMO, DEMO_CLIPS[place]) for _ in range(2))
    np.testing.assert_array_equal(pictures(first), pictures(second))
    assert pictures(first).shape == (24, 144, 192, 3)


@given(place=places)
@settings(max_examples=10)
def test_what_changes_is_covered_by_the_truth_and_all_of_the_truth_changes(place: int) -> None:
    frames = rendered(QUIET, QUIET_CLIPS[place])
    spread = np.ptp(pictures(frames).astype(np.int16), axis=0).max(axis=-1)
    masks = masks_of(frames)
    moves, stays = masks.any(axis=0), masks.all(axis=0)
    assert not (spread[~moves] > 128).any()  # an edge pixel counts from half its area on
    assert (spread[moves & ~stays] > 20).all()


@given(place=places)
@settings(max_examples=30)
def test_the_caption_names_what_it_says(place: int) -> None:
    clip = DEMO_CLIPS[place]
    assert len(set(clip.story.kinds)) == 4
    assert clip.story.kinds[0] == KINDS[clip.index % len(KINDS)]
    colour, shape = clip.story.kinds[0]
    rests = clip.split == "still" or (clip.split == "train" and clip.index // len(KINDS) % 5 == 4)
    assert clip.story.caption == f"a {colour} {shape} is {'resting' if rests else 'moving'}"
    assert (clip.story.movers == (0,)) is not rests


def test_clips_of_different_splits_places_and_seeds_differ() -> None:
    made = []
    for seed in (0, 1):
        options = GenerateOptions(seed=seed)
        for spec in options.splits:
            begin = next(render(next(plan_split(options, spec)), options.amount))
            made.append(begin.rgb.tobytes())
    assert len(set(made)) == len(made) == 2 * len(SPLITS)


def test_the_bound_of_single_frames_is_a_guess_among_the_clips_that_show_the_object() -> None:
    clips = of_split(DEMO, "test")
    by_hand = [1 / sum(clip.story.kinds[0] in other.story.kinds for other in clips) for clip in clips]
    assert single_frame_bound(clips) == pytest.approx(100 * np.mean(by_hand))
    assert single_frame_bound(clips[:1]) == 100.0


def test_the_files_are_a_data_set_of_real_videos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "CLIPS_PER_TASK", 3)  # one task is done by this process
    result = fda.generate(tmp_path / "a", OPTIONS, workers=0)
    fda.generate(tmp_path / "b", OPTIONS, workers=2)
    assert tree_digest(tmp_path / "a") == tree_digest(tmp_path / "b")  # whoever encodes: the same bytes
    records = [json.loads(line) for line in Path(result.manifest).read_text().splitlines()]
    assert [one["split"] for one in records] == ["train", "train", "val", "test", "still"]
    for one, clip in zip(records, plan_clips(OPTIONS), strict=True):
        frames = rendered(OPTIONS, clip)
        assert one["captions"] == [clip.story.caption]
        assert (one["captions"][0] == f"a {one['mover']} is moving") is (clip.split != "still")
        with np.load(tmp_path / "a" / one["truth"]) as truth:
            np.testing.assert_array_equal(truth["masks"], masks_of(frames))
            assert truth["camera"].shape == (24, 2, 3)
        with av.open(tmp_path / "a" / one["path"]) as container:
            assert len(list(container.decode(video=0))) == 24
    dataset = read_dataset("jsonl", Path(result.manifest))
    assert len(dataset.videos) == 5
    assert dataset.likely_mistakes == ()  # no key of ours is taken for somebody's mistake


def test_a_complete_data_set_is_kept_and_another_only_replaces_it_when_told(tmp_path: Path) -> None:
    options = GenerateOptions(num_train=1, num_eval=1)
    manifest = Path(fda.generate(tmp_path, options, workers=0).manifest)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert fda.generate(tmp_path, options, workers=0).num_written == 0
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    content = tree_digest(tmp_path)
    manifest.unlink()
    assert fda.generate(tmp_path, options, workers=0).num_written == 4
    assert tree_digest(tmp_path) == content
    other = GenerateOptions(num_train=1, num_eval=1, seed=1)
    with pytest.raises(InputError, match="seed is 0 there, and 1 was asked for"):
        fda.generate(tmp_path, other, workers=0)
    assert tree_digest(tmp_path) == content
    (tmp_path / "videos/mine.txt").write_text("mine")
    fda.generate(tmp_path, other, workers=0, overwrite=True)
    assert tree_digest(tmp_path).keys() == {*content, "videos/mine.txt"}
    assert tree_digest(tmp_path) != content


@pytest.mark.parametrize("name", ["clips.jsonl", "options.json", "videos/train_00000.mp4", "notes.txt"])
def test_a_folder_with_other_files_is_left_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / "data" / name).parent.mkdir(parents=True)
    (tmp_path / "data" / name).write_text("{}")
    before = tree_digest(tmp_path)
    for make in (lambda: fda.generate(tmp_path / "data", OPTIONS, overwrite=True), lambda: demo(tmp_path)):
        with pytest.raises(InputError, match=f"contains '{name.partition('/')[0]}', which fda did not write"):
            make()
    assert tree_digest(tmp_path) == before


def test_a_page_of_another_program_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "demo.html").write_text("mine")
    with pytest.raises(InputError, match=r"contains 'demo.html', which fda did not write"):
        demo(tmp_path)
    assert tree_digest(tmp_path).keys() == {"demo.html"}


def test_one_that_was_killed_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = GenerateOptions(num_train=20, num_eval=1, factors={"seconds": 0.2})
    fda.generate(tmp_path / "clean", options, workers=0)
    write, written = write_clip, list[str]()

    def killed(folder: Path, options: GenerateOptions, plan: ClipPlan, files: Sequence[str]) -> object:
        if len(written) == 18:
            (folder / "videos/train_00018.mp4").write_bytes(b"half")
            raise KeyboardInterrupt
        written.append(plan.video_id)
        return write(folder, options, plan, files)

    with monkeypatch.context() as patch:
        patch.setattr("pipeline.synthetic.writing.write_clip", killed)
        with pytest.raises(KeyboardInterrupt):
            fda.generate(tmp_path / "killed", options, workers=0)
    assert not (tmp_path / "killed/clips.jsonl").exists()
    assert fda.generate(tmp_path / "killed", options, workers=0).num_written == 7  # of 23: the first 16 are kept
    assert tree_digest(tmp_path / "killed") == tree_digest(tmp_path / "clean")


@pytest.mark.parametrize("split", ["test", "still"])
def test_masks_of_the_decoded_video_lie_on_the_mover(tmp_path: Path, split: str) -> None:
    fda.generate(tmp_path, GenerateOptions(num_train=1, num_eval=2), workers=0)
    for index in range(2):
        frames = decode_clip(tmp_path / f"videos/{split}_{index:05d}.mp4", DecodeOptions(12, 144)).sample.frames
        masks = clip_masks(frames, MaskOptions()).masks
        with np.load(tmp_path / f"truth/{split}_{index:05d}.npz") as truth:
            moving = truth["masks"].any(axis=0)[:, 24:168]
        assert masks.any(axis=(1, 2)).all()
        assert (masks & ~moving).sum() <= 0.05 * masks.sum()
        assert (masks.any(axis=0) & moving).sum() > 0.4 * moving.sum()


@pytest.mark.parametrize("suite", list(fda.Suite))
@pytest.mark.parametrize("size", [fda.Size.TINY, fda.Size.SMALL])
def test_captions_of_a_split_are_distinct(suite: fda.Suite, size: fda.Size) -> None:
    options = GenerateOptions(suite, size)
    for spec in options.splits:
        if spec.name != "train":
            captions = [clip.story.caption for clip in plan_split(options, spec)]
            assert len(set(captions)) == spec.num_clips, spec.name


def test_each_split_of_factors_differs_from_test_in_its_factor_alone() -> None:
    options = GenerateOptions(fda.Suite.FACTORS, fda.Size.TINY)
    easy = {clip.index: clip for clip in of_split(options, "test")}
    tested = [(name, level) for name in PICTURE_FACTORS for level in FACTORS[name].others]
    for name, level in tested:
        for clip in of_split(options, f"test-{name}-{level}"):
            twin = easy[clip.index]
            assert {one for one in FACTORS if getattr(clip.settings, one) != getattr(twin.settings, one)} == {name}
            assert clip.story.kinds[0] == twin.story.kinds[0]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"num_eval": 25}, "num_eval must be at most 24"),
        ({"num_train": 0}, "num_train must be at least 1, got 0"),
        ({"factors": {"colour": "red"}}, "no factor 'colour': there are distractors"),
        ({"factors": {"pan": "wild"}}, "no level 'wild' of pan: use none, mild, strong, or a number"),
        ({"factors": {"pan": "nan"}}, "pan .* must be a number in 0..2, got nan"),
        ({"factors": {"cuts": 1.5}}, "cuts .* must be a whole number"),
        ({"seed": -1}, "seed must be 0 or more"),
        ({"suite": "all"}, "suite must be one of demo, factors"),
        ({"background_motion": "moving"}, "needs videos to play: give a folder of them"),
    ],
)
def test_options_that_cannot_be(given: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        GenerateOptions(**given)  # type: ignore[arg-type]
