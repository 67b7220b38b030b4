"""Frames drawn anew each epoch, and their masks: those that `fda masks` would make of a clip of these frames."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from encoders.training.options import TrainOptions
from encoders.weights.loading import load_model
from pipeline.clips.alpha import AlphaClips, shuffled_rows
from pipeline.clips.options import AlphaSource
from pipeline.errors import InputError
from pipeline.mask_imports.options import MaskImportOptions
from pipeline.masks.clips import clip_masks
from pipeline.masks.mask_sets import create_mask_set, plan_masks
from pipeline.masks.options import GROUND, Difference, MaskOptions
from pipeline.masks.stored import stored_mask_options
from pipeline.run.events import Event, StepDone
from pipeline.training.clips import TrainingClips
from pipeline.training.drawn import Drawing, draw_slots
from pipeline.training.finetune import train_model
from pipeline.training.options import BatchOptions, TrainingRecipe
from pipeline.video.options import Sampling, SamplingMode
from store.clips.reader import ClipBatch, ClipReader
from store.clips.shards import create_mask_arrays, read_frames
from store.store import Store
from tests.clips_on_disk import SMALL, run_preprocess, write_small_dataset
from tests.encoders_tiny import write_config
from tests.mask_sets import make_mask_set
from tests.seed import drawn as seeded
from tests.stores import tree_digest

DRAWN = BatchOptions("all", "negatives", frames=3)
NAMES = {
    "sampled": MaskOptions(threshold=9, kernel_size=3, min_area=4),
    "consecutive": MaskOptions(threshold=5, kernel_size=1, min_area=0, difference=Difference.CONSECUTIVE),
    "soft": MaskOptions(kernel_size=3, min_area=4, soft=True),
    "background": MaskOptions(kernel_size=3, min_area=4, difference=Difference.BACKGROUND),
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("data")
    videos = write_small_dataset(folder, {"train": 5, "val": 2})
    made = run_preprocess(videos, folder / "store", replace(SMALL, train_frames=8, neighbours=True))
    for name, options in NAMES.items():
        create_mask_set(made, name, options)
        make_mask_set(made, name, options, plan_masks(made, name))
    return made


def drawn(
    store: Store, name: str, source: AlphaSource = AlphaSource.MASKS, *, epoch: int = 0, options: BatchOptions = DRAWN
) -> ClipBatch:
    clips = AlphaClips(ClipReader(store, "train", name), source, 5)
    recipe = TrainingRecipe(TrainOptions(), options, mask_name=name, alpha=source)
    rows = [3, 1, 4, 0]
    rngs = [np.random.default_rng([epoch, row]) for row in rows]
    return TrainingClips(clips, Drawing.of(store, recipe), options, 16).read(rows, rngs)


@given(st.integers(1, 64), st.integers(1, 64), st.integers(0, 9))
def test_one_frame_of_each_span_is_drawn(num_stored: int, num_drawn: int, seed: int) -> None:
    slots = draw_slots(num_stored, num_drawn, np.random.default_rng(seed))
    assert len(slots) == min(num_stored, num_drawn)
    for number, slot in enumerate(slots.tolist()):
        assert number * num_stored // len(slots) <= slot < (number + 1) * num_stored // len(slots)


def test_every_frame_of_a_span_is_drawn_as_often() -> None:
    rng = np.random.default_rng(0)
    counts = np.bincount(np.concatenate([draw_slots(24, 6, rng) for _ in range(4000)]), minlength=24)
    assert counts.min() > 850
    assert counts.max() < 1150


@pytest.mark.parametrize("name", list(NAMES))
def test_masks_are_those_of_a_clip_of_the_frames_drawn(store: Store, name: str) -> None:
    (shard,) = [one for one in store.shards("train") if one.start == 0][:1]
    batches = [drawn(store, name, epoch=epoch) for epoch in range(6)]
    seen = set()
    for batch in batches:
        assert batch.masks.dtype == (np.uint8 if name == "soft" else np.bool_)
        place = batch.rows.tolist().index(0)
        stored = read_frames(store, shard)
        slots = [
            next(slot for slot in range(8) if np.array_equal(stored.frames[0, slot], frame))
            for frame in batch.frames[place]
        ]
        seen.add(tuple(slots))
        assert stored.next_grey is not None
        expected = clip_masks(stored.frames[0, slots], NAMES[name], stored.next_grey[0, slots]).masks
        assert np.array_equal(batch.masks[place], expected)
        assert batch.is_frame.all()
    assert len(seen) > 1  # anew each epoch


def test_as_many_frames_as_there_are_give_the_stored_masks(store: Store) -> None:
    batch = drawn(store, "sampled", options=replace(DRAWN, frames=8))
    stored = ClipReader(store, "train", "sampled").read(batch.rows.tolist())
    assert np.array_equal(batch.frames, stored.frames)
    assert np.array_equal(batch.masks, stored.masks)
    assert batch.video_ids == stored.video_ids


def test_controls_of_drawn_frames(store: Store) -> None:
    own, ones, zeros, shuffled, areas = (drawn(store, "sampled", source) for source in AlphaSource)
    for one in (ones, zeros, shuffled, areas):
        assert np.array_equal(one.frames, own.frames)
    assert ones.masks.all()
    assert not zeros.masks.any()
    assert not np.array_equal(shuffled.masks, own.masks)
    assert not np.array_equal(areas.masks, own.masks)
    pictures = (-1, *own.masks.shape[2:])
    for mask, area in zip(own.masks.reshape(pictures), areas.masks.reshape(pictures), strict=True):
        assert area.sum() == area.any(axis=1).sum() * area.any(axis=0).sum()
        assert abs(int(area.sum()) - int(mask.sum())) <= 32
    givers = shuffled_rows(range(5), 5)
    batch = drawn(store, "sampled", AlphaSource.SHUFFLED, options=replace(DRAWN, frames=8))
    expected = ClipReader(store, "train", "sampled").read_masks([givers[row] for row in batch.rows.tolist()])
    assert np.array_equal(batch.masks, expected)


def test_no_augmentation_turns_a_control_into_masks(store: Store) -> None:
    options = replace(DRAWN, frame_jitter=4, mask_dropout=0.5, alpha_ones=0.5)
    assert drawn(store, "sampled", AlphaSource.ONES, options=options).masks.all()
    assert not drawn(store, "sampled", AlphaSource.ZEROS, options=options).masks.any()


def test_masks_that_are_not_used_are_not_read(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = ClipReader(store, "train", "sampled")
    monkeypatch.setattr(reader._masks, "read_into", None)
    for source in (AlphaSource.ONES, AlphaSource.ZEROS):
        batch = AlphaClips(reader, source).read([0, 2])
        assert batch.masks.all() == (source is AlphaSource.ONES)
    recipe = TrainingRecipe(TrainOptions(), DRAWN, mask_name="sampled")
    clips = TrainingClips(AlphaClips(reader, AlphaSource.MASKS), Drawing.of(store, recipe), DRAWN, 16)
    assert clips.read([0], [np.random.default_rng(0)]).masks.shape == (1, 3, 32, 32)


def test_a_clip_of_fewer_frames_gives_all_it_has(tmp_path: Path) -> None:
    videos = write_small_dataset(tmp_path, {"train": 3, "val": 2})
    rare = Sampling(SamplingMode.FPS, Fraction(4))  # two seconds or less: under 8 frames
    store = run_preprocess(videos, tmp_path / "store", replace(SMALL, train_frames=12, sampling=rare))
    number = int(ClipReader(store, "train", "default").is_frame([0]).sum())
    assert 1 < number < 12
    for frames in (number - 1, number, number + 2):
        recipe = TrainingRecipe(TrainOptions(), replace(DRAWN, frames=frames))
        clips = TrainingClips(
            AlphaClips(ClipReader(store, "train", "default"), AlphaSource.MASKS),
            Drawing.of(store, recipe),
            replace(DRAWN, frames=frames, crop=0.5, flip=0.5),
            16,
        )
        batch = clips.read([0], [np.random.default_rng(0)])
        assert batch.frames.shape[:2] == (1, frames)
        assert batch.is_frame.sum() == min(frames, number)
        assert batch.is_frame[0, : min(frames, number)].all()
    reader = ClipReader(store, "train", "default")
    recipe = TrainingRecipe(TrainOptions(), replace(DRAWN, frames=number + 2), alpha=AlphaSource.SHUFFLED)
    shuffled = TrainingClips(AlphaClips(reader, recipe.alpha), Drawing.of(store, recipe), recipe.batches, 16)
    masks = shuffled.read([0], [np.random.default_rng(0)]).masks[0]
    assert masks.any()
    assert np.array_equal(masks[number:], masks[:2])  # another clip's masks go on where its frames end
    checkpoint = tmp_path / "checkpoint"
    recipe = TrainingRecipe(TrainOptions(epochs=1, batch_size=2, lr=1e-3, alpha_lr=1e-3), replace(DRAWN, frames=9))
    train_model(store, load_model(write_config(tmp_path), "none", None, seed=0), checkpoint, recipe)


def test_more_frames_than_are_stored_are_refused(store: Store) -> None:
    with pytest.raises(InputError, match="frames is 9, and clips of split 'train' have 8: preprocess with --train-fr"):
        drawn(store, "sampled", options=replace(DRAWN, frames=9))


def test_masks_of_unknown_origin_are_refused_and_imported_ones_are_taken_as_they_are(store: Store) -> None:
    create_mask_arrays(store, "newer", {"options": {**MaskOptions().identity(), "novel": 1}}, soft=False)
    create_mask_arrays(store, "bare", {}, soft=False)
    create_mask_arrays(store, "theirs", {"options": MaskImportOptions().identity()}, soft=False)
    with pytest.raises(InputError, match="masks 'newer' of .* with the options novel, which are not known here"):
        stored_mask_options(store, "train", "newer")
    with pytest.raises(InputError, match="masks 'bare' of .* were made without any options"):
        stored_mask_options(store, "train", "bare")
    older = {key: value for key, value in MaskOptions(difference=Difference.AUTO).identity().items() if key != GROUND}
    create_mask_arrays(store, "older", {"options": older}, soft=False)
    with pytest.raises(InputError, match="ground otherwise.*fda masks --masks older --difference auto ... --overw"):
        stored_mask_options(store, "train", "older")
    assert stored_mask_options(store, "train", "theirs") is None
    batch = drawn(store, "sampled")
    clips = AlphaClips(ClipReader(store, "train", "sampled"), AlphaSource.MASKS)
    rngs = [np.random.default_rng([0, row]) for row in batch.rows.tolist()]
    taken = TrainingClips(clips, Drawing(3, None), DRAWN, 16).read(batch.rows.tolist(), rngs)
    assert np.array_equal(taken.frames, batch.frames)
    whole = ClipReader(store, "train", "sampled").read(batch.rows.tolist())
    for place in range(4):
        slots = [
            next(slot for slot in range(8) if np.array_equal(whole.frames[place, slot], frame))
            for frame in taken.frames[place]
        ]
        assert np.array_equal(taken.masks[place], whole.masks[place, slots])


class Killed(BaseException):
    """Ends a run."""


@pytest.mark.parametrize("alpha", [AlphaSource.MASKS, AlphaSource.SHUFFLED])
def test_a_run_that_is_killed_draws_the_same_when_it_goes_on(store: Store, tmp_path: Path, alpha: AlphaSource) -> None:
    options = replace(DRAWN, crop=0.5, flip=0.5)
    train = TrainOptions(epochs=2, batch_size=4, lr=1e-3, alpha_lr=1e-3, evaluations=2, window=2)
    recipe = TrainingRecipe(train, options, mask_name="sampled", alpha=alpha)
    config = write_config(tmp_path)

    def run(folder: Path, stop_at: int | None) -> None:
        num_steps = 0

        def listener(event: Event) -> None:
            nonlocal num_steps
            num_steps += isinstance(event, StepDone)
            if num_steps == stop_at:
                raise Killed

        train_model(store, load_model(config, "none", None, seed=0), folder, recipe, listener, save_seconds=0.0)

    run(tmp_path / "whole", None)
    with pytest.raises(Killed):
        run(tmp_path / "killed", seeded(f"step after which a training with {alpha} is killed").randint(1, 4))
    run(tmp_path / "killed", None)
    found, expected = (tree_digest(tmp_path / name) for name in ("killed", "whole"))
    assert found["model.safetensors"] == expected["model.safetensors"]
    assert found["history.json"] == expected["history.json"]
