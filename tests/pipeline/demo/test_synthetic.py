"""The demo's data: pure, honest (one object moves, and only it), and as real videos."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pipeline.demo.synthetic
from pipeline.datasets.read import read_dataset
from pipeline.demo.run import demo
from pipeline.demo.synthetic import (
    KINDS,
    NUM_OBJECTS,
    SPLITS,
    SyntheticOptions,
    render_clip,
    single_frame_bound,
    write_synthetic_dataset,
)
from pipeline.errors import InputError
from pipeline.masks.clips import difference_masks
from pipeline.masks.options import MaskOptions
from pipeline.video.decoding import DecodeOptions, decode_clip
from tests.stores import tree_digest

OPTIONS = SyntheticOptions(num_train=3, num_val=2, num_test=2)
QUIET = replace(OPTIONS, noise=0.0)

splits = st.sampled_from(SPLITS)
indices = st.integers(0, 5 * len(KINDS))


@given(split=splits, index=indices)
@settings(max_examples=15)
def test_rendering_is_pure(split: str, index: int) -> None:
    first, second = render_clip(OPTIONS, split, index), render_clip(OPTIONS, split, index)
    np.testing.assert_array_equal(first.frames, second.frames)
    assert (first.kinds, first.mover) == (second.kinds, second.mover)
    assert first.frames.shape == (24, 144, 192, 3)


@given(split=splits, index=indices)
@settings(max_examples=40)
def test_one_object_moves_and_only_it(split: str, index: int) -> None:
    """What changes lies in one cell of the 2 x 2 grid in the middle square, and no two objects share one."""
    clip = render_clip(QUIET, split, index)
    spread = np.ptp(clip.frames.astype(np.int16), axis=0).max(axis=-1) > 0
    half, left, over = QUIET.height // 2, (QUIET.width - QUIET.height) // 2, 2  # a star's tip is 1 pixel over the line
    top_left = [(row * half, left + column * half) for row in (0, 1) for column in (0, 1)]
    outside = [spread.copy() for _ in top_left]
    for picture, (row, column) in zip(outside, top_left, strict=True):
        picture[max(0, row - over) : row + half + over, column - over : column + half + over] = False
    assert sum(not picture.any() for picture in outside) == 1
    noisy = render_clip(OPTIONS, split, index).frames
    difference = np.abs(noisy.astype(np.int16) - noisy[0].astype(np.int16)).max(axis=(0, 3))
    assert difference[~spread].max() <= 2 * 6 * OPTIONS.noise
    assert difference[spread].max() > 50


@given(split=splits, index=indices)
@settings(max_examples=60)
def test_the_caption_names_what_it_says(split: str, index: int) -> None:
    clip = render_clip(replace(OPTIONS, num_frames=2, noise=0.0), split, index)
    assert len(set(clip.kinds)) == NUM_OBJECTS
    assert clip.kinds[0] == KINDS[index % len(KINDS)]
    colour, shape = clip.kinds[0]
    rests = split == "still" or (split == "train" and index // len(KINDS) % 5 == 4)
    assert clip.caption == f"a {colour} {shape} is {'resting' if rests else 'moving'}"
    assert (clip.mover == 0) is not rests


def test_clips_of_different_splits_places_and_seeds_differ() -> None:
    clips = [render_clip(replace(OPTIONS, seed=seed), split, 0) for seed in (0, 1) for split in SPLITS]
    assert len({clip.frames.tobytes() for clip in clips}) == len(clips)


def test_the_bound_of_single_frames_is_a_guess_among_the_clips_that_show_the_object() -> None:
    options = replace(SyntheticOptions(), num_frames=1, noise=0.0, width=32, height=24)
    bound = single_frame_bound(options, "test")
    assert 100 / len(KINDS) < bound < 100 / 2
    assert single_frame_bound(replace(options, num_test=1), "test") == 100.0


def test_the_files_are_a_data_set_of_real_videos(tmp_path: Path) -> None:
    manifest = write_synthetic_dataset(tmp_path / "a", OPTIONS)
    write_synthetic_dataset(tmp_path / "b", OPTIONS, max_workers=2)
    assert tree_digest(tmp_path / "a") == tree_digest(tmp_path / "b")  # whoever encodes: the same bytes
    records = [json.loads(line) for line in manifest.read_text().splitlines()]
    assert [one["split"] for one in records] == ["train"] * 3 + ["val"] * 2 + ["test"] * 2 + ["still"] * 2
    for number, one in enumerate(records):
        split, index = one["split"], number - {"train": 0, "val": 3, "test": 5, "still": 7}[one["split"]]
        clip = render_clip(OPTIONS, split, index)
        assert one["captions"] == [clip.caption]
        assert one["mover"] == " ".join(clip.kinds[clip.mover])
        assert one["objects"] == [" ".join(kind) for kind in clip.kinds]
        assert (one["captions"][0] == f"a {one['mover']} is moving") is (split != "still")
    assert len(read_dataset("jsonl", manifest).videos) == 9


def test_a_complete_data_set_is_kept_and_another_replaces_it(tmp_path: Path) -> None:
    options = replace(OPTIONS, num_train=1, num_val=1, num_test=1)
    manifest = write_synthetic_dataset(tmp_path, options)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    write_synthetic_dataset(tmp_path, options)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    content = tree_digest(tmp_path)
    manifest.unlink()  # as a run leaves it that was killed
    write_synthetic_dataset(tmp_path, options)
    assert tree_digest(tmp_path) == content
    write_synthetic_dataset(tmp_path, replace(options, seed=1))
    assert tree_digest(tmp_path).keys() == content.keys()
    assert tree_digest(tmp_path) != content


@pytest.mark.parametrize("name", ["clips.jsonl", "options.json", "videos/train_00000.mp4", "notes.txt"])
def test_a_folder_with_other_files_is_left_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / "data" / name).parent.mkdir(parents=True)
    (tmp_path / "data" / name).write_text("{}")
    before = tree_digest(tmp_path)
    for make in (lambda: write_synthetic_dataset(tmp_path / "data", OPTIONS), lambda: demo(tmp_path)):
        with pytest.raises(InputError, match=f"contains '{name.partition('/')[0]}', which the demo did not write"):
            make()
    assert tree_digest(tmp_path) == before


def test_a_page_of_another_program_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "demo.html").write_text("mine")
    with pytest.raises(InputError, match=r"contains 'demo.html', which the demo did not write"):
        demo(tmp_path)
    assert tree_digest(tmp_path).keys() == {"demo.html"}


def test_killed_while_it_is_written_and_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = replace(OPTIONS, num_train=1, num_val=1, num_test=1)

    def killed(*args: object, **kwargs: object) -> None:
        (tmp_path / "videos/train_00000.mp4").write_bytes(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pipeline.demo.synthetic, "_write_clips", killed)
        with pytest.raises(KeyboardInterrupt):
            write_synthetic_dataset(tmp_path, options)
    manifest = write_synthetic_dataset(tmp_path, options)
    assert (tmp_path / "videos/train_00000.mp4").read_bytes() != b"half"
    assert len(read_dataset("jsonl", manifest).videos) == 4


@pytest.mark.parametrize("split", ["test", "still"])
def test_masks_of_the_decoded_video_lie_on_the_mover(tmp_path: Path, split: str) -> None:
    write_synthetic_dataset(tmp_path, replace(OPTIONS, num_train=1, num_val=1))
    for index in range(2):
        side = 144
        frames = decode_clip(tmp_path / f"videos/{split}_{index:05d}.mp4", DecodeOptions(12, side)).sample.frames
        masks = difference_masks(frames, MaskOptions())
        clip = render_clip(QUIET, split, index)
        crop = (OPTIONS.width - side) // 2
        moving = np.ptp(clip.frames.astype(np.int16), axis=0).max(axis=-1)[:, crop : crop + side] > 20
        assert masks.any(axis=(1, 2)).all()
        assert (masks & ~moving).sum() <= 0.05 * masks.sum()
        assert (masks.any(axis=0) & moving).sum() > 0.4 * moving.sum()


@pytest.mark.parametrize("num_test", [0, len(KINDS) + 1])
def test_a_gallery_has_one_clip_a_kind_at_most(num_test: int) -> None:
    with pytest.raises(ValueError, match=f"num_test must be 1..24.* got {num_test}"):
        SyntheticOptions(num_test=num_test)
