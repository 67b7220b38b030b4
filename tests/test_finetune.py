"""Training on a tiny store: the same seed gives the same bytes, the best epoch is kept, and a kill costs only time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import pipeline.finetune
from encoders.training import TrainOptions
from encoders.weights import load_checkpoint, load_model
from pipeline.alpha import AlphaSource
from pipeline.checkpoint import FinetuneResult, has_ended, is_finished, read_history
from pipeline.encode import EncodeOptions, feature_identity
from pipeline.events import EpochDone, Event, RunPlanned, StepDone
from pipeline.finetune import FinetuneOptions, checkpoint_identity, finetune
from store.errors import NotInStoreError
from store.store import Store
from tests.clips_on_disk import run_preprocess, write_small_dataset
from tests.encoders_tiny import write_config
from tests.stores import tree_digest

OPTIONS = FinetuneOptions(train=TrainOptions(epochs=2, batch_size=3, lr=1e-3, alpha_lr=1e-3))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("data")
    return run_preprocess(write_small_dataset(folder, {"train": 6, "val": 3, "test": 2}), folder / "store")


@pytest.fixture(scope="module")
def without_val(tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("data")
    return run_preprocess(write_small_dataset(folder, {"train": 6}), folder / "store")


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_config(tmp_path_factory.mktemp("model"))


def train(
    store: Store, config: str, folder: Path, options: FinetuneOptions = OPTIONS, heard: list[Event] | None = None
) -> FinetuneResult:
    events: list[Event] = [] if heard is None else heard
    return finetune(store, load_model(config, "none", None, seed=0), folder, options, events.append)


def test_one_seed_gives_one_checkpoint_to_the_byte(store: Store, config: str, tmp_path: Path) -> None:
    before = tree_digest(Path(store.place))
    results = [train(store, config, tmp_path / name) for name in "ab"]
    assert results[0] == results[1] == read_history(tmp_path / "a")
    assert tree_digest(tmp_path / "a") == tree_digest(tmp_path / "b")
    assert sorted(tree_digest(tmp_path / "a")) == ["config.json", "history.json", "model.safetensors"]
    assert tree_digest(Path(store.place)) == before


def test_training_tells_every_step_and_epoch(store: Store, config: str, tmp_path: Path) -> None:
    heard: list[Event] = []
    result = train(store, config, tmp_path, heard=heard)
    assert heard[0] == RunPlanned("steps", 4, 0)
    assert [event.epoch for event in heard if isinstance(event, StepDone)] == [1, 1, 2, 2]
    assert tuple(event for event in heard if isinstance(event, EpochDone)) == result.epochs
    assert (result.num_train_videos, result.num_val_videos, result.validation) == (6, 3, "split 'val'")


def test_the_best_epoch_is_kept(store: Store, config: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = iter([30.0, 60.0, 60.0, 10.0])
    monkeypatch.setattr(pipeline.finetune, "_validate", lambda encoder, val: next(scores))
    result = train(store, config, tmp_path / "four", replace(OPTIONS, train=replace(OPTIONS.train, epochs=4)))
    assert [epoch.is_best for epoch in result.epochs] == [True, True, False, False]  # the earlier one of two equals
    assert (result.best_epoch, result.best_validation_r1) == (2, 60.0)
    metadata = load_checkpoint(tmp_path / "four").metadata
    assert (metadata["epoch"], metadata["validation_r1"]) == (2, 60.0)


def test_without_a_val_split_some_of_train_is_held_out(without_val: Store, config: str, tmp_path: Path) -> None:
    result = train(without_val, config, tmp_path, replace(OPTIONS, hold_out_share=0.34))
    assert (result.num_train_videos, result.num_val_videos) == (4, 2)
    assert result.validation == "34% of split 'train', held out: there is no split 'val'"


def test_a_run_that_was_killed_and_run_again_ends_with_the_same_bytes(
    store: Store, config: str, tmp_path: Path
) -> None:
    class Killed(BaseException):
        pass

    train(store, config, tmp_path / "whole")
    for event_number in (4, 6):  # after an epoch, and in the next
        folder, num_heard = tmp_path / str(event_number), 0

        def listener(event: Event, event_number: int = event_number) -> None:
            nonlocal num_heard
            num_heard += 1
            if num_heard == event_number:
                raise Killed

        with pytest.raises(Killed):
            finetune(store, load_model(config, "none", None, seed=0), folder, OPTIONS, listener)
        assert not has_ended(folder)
        train(store, config, folder)
        assert tree_digest(folder) == tree_digest(tmp_path / "whole")


def test_what_made_a_checkpoint_is_kept_and_tells_runs_apart(store: Store, config: str, tmp_path: Path) -> None:
    train(store, config, tmp_path)
    loaded = load_model(config, "none", None, seed=0)
    identity = checkpoint_identity(store, loaded, OPTIONS)
    assert is_finished(tmp_path, identity)
    others = [
        replace(OPTIONS, seed=1),
        replace(OPTIONS, alpha=AlphaSource.ONES),
        replace(OPTIONS, train=replace(OPTIONS.train, lr=2e-3)),
    ]
    assert all(checkpoint_identity(store, loaded, other) != identity for other in others)
    assert checkpoint_identity(store, load_model(config, "none", None, seed=1), OPTIONS) != identity


def test_what_made_the_clips_is_said_of_checkpoints_as_of_features(store: Store, config: str) -> None:
    loaded, encode_options = load_model(config, "none", None, seed=0), EncodeOptions("mine", ("train",))
    for codec in ("raw", "jpeg"):
        other = replace(store, manifest=replace(store.manifest, frame_codec=codec))
        mine = checkpoint_identity(other, loaded, OPTIONS)
        theirs = feature_identity(other, loaded, encode_options, "train")
        assert (mine["clips"], mine["masks"]) == (theirs["clips"], theirs["masks"])
        assert isinstance(mine["clips"], dict)
        assert mine["clips"]["frame_codec"] == codec


def test_too_few_videos_or_no_split_to_train_on(store: Store, config: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="training wants at least 2 videos and one to validate on: .* gives 1 and 1"):
        train(store, config, tmp_path, replace(OPTIONS, train_split="test", val_split="none", hold_out_share=0.5))
    with pytest.raises(NotInStoreError, match="no split 'learn'"):
        train(store, config, tmp_path, replace(OPTIONS, train_split="learn"))
    assert list(tmp_path.iterdir()) == []
