"""`pool_features`: what it learns and writes, that it goes on where it was, and what makes it out of date."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import fda
from encoders.temporal.options import TemporalOptions
from encoders.temporal.trainer import TemporalTrainer
from pipeline.evaluation.scores.pooling import pool_frames
from pipeline.pooling.checkpoint import pool_folder
from pipeline.pooling.options import PoolOptions
from pipeline.pooling.run import PoolResult, pool_features
from pipeline.run.checkpoints import CheckpointBusyError, CheckpointMismatchError
from pipeline.run.events import Event, Message
from pipeline.run.overwriting import UnconfirmedError
from store.errors import NotInStoreError, ShardIncompleteError, StoreMismatchError
from store.features import feature_names, features_made_with, read_features, read_frame_features
from store.store import Store
from tests.frame_stores import Arrays, frame_store, import_frames
from tests.ordered_events import ordered_events
from tests.retrieval_cases import Floats

OPTIONS = PoolOptions(
    "mine", "seq", temporal=TemporalOptions(layers=1, epochs=3, lr=3e-3, batch_size=32), device="cpu", seed=1
)
SIZES = {"train": 320, "val": 24, "test": 24}


def arrays(**sizes: int) -> dict[str, Arrays]:
    return {split: ordered_events(seed, size) for seed, (split, size) in enumerate(sizes.items())}


@pytest.fixture(scope="module")
def pooled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Path, PoolResult]:
    """A store with a pooled set, and its checkpoint; not to be changed."""
    folder = tmp_path_factory.mktemp("pooled")
    store = frame_store(folder / "store", arrays(**SIZES))
    return store, folder / "checkpoint", pool_features(store.place, folder / "checkpoint", OPTIONS)


def r1(store: Store, features: str, split: str = "test") -> float:
    return fda.evaluate(store.place, features, fda.EvalOptions(split)).result.metrics.text_to_video.r1


def test_it_finds_what_an_average_cannot(pooled: tuple[Store, Path, PoolResult]) -> None:
    store, _, result = pooled
    assert r1(store, "seq") > r1(store, "mine") + 20
    history = result.history
    assert [one.epoch for one in history.epochs] == list(range(len(history.epochs)))
    assert history.best.validation_r1 == max(one.validation_r1 for one in history.epochs)
    assert history.best.validation_r1 == pytest.approx(r1(store, "seq", "val"))
    assert history.epochs[0].mean_loss is None
    unit_mean = fda.evaluate(store.place, "mine", fda.EvalOptions("val", pooling="unit-mean"))
    assert history.epochs[0].validation_r1 == pytest.approx(unit_mean.result.metrics.text_to_video.r1)
    assert (history.num_train_videos, history.num_val_videos, history.validation) == (320, 24, "split 'val'")


def test_what_is_written_fits_its_source(pooled: tuple[Store, Path, PoolResult]) -> None:
    store, _, result = pooled
    assert {one.split: one.num_videos for one in result.splits} == SIZES
    mine, seq = read_features(store, "mine", "test"), read_features(store, "seq", "test")
    np.testing.assert_array_equal(seq.text, mine.text)
    np.testing.assert_array_equal(seq.num_dropped, mine.num_dropped)
    frame = read_frame_features(store, "seq", "test")[1]
    np.testing.assert_allclose(pool_frames(frame, "unit-mean"), seq.video, atol=1e-6)
    made_with = features_made_with(store, "seq", "test")
    assert made_with["pooling"] == "seqtransf"
    assert made_with["pooled"] == {
        "from": "mine",
        "weights_sha256": result.history.weights_sha256,
        "layers": 1,
        "best_epoch": result.history.best_epoch,
        "train_split": "train",
        "val_split": "val",
    }


def test_scores_on_what_it_was_trained_on_are_marked(pooled: tuple[Store, Path, PoolResult]) -> None:
    store = pooled[0]
    for split, words in (("train", "TRAINED on"), ("val", "CHOSEN on")):
        (caveat,) = fda.evaluate(store.place, "seq", fda.EvalOptions(split)).result.caveats
        assert words in caveat
        assert "temporal transformer" in caveat
    assert fda.evaluate(store.place, "seq").result.caveats == ()


def test_a_training_that_has_ended_is_only_applied(pooled: tuple[Store, Path, PoolResult]) -> None:
    store, checkpoint, result = pooled
    again = pool_features(store.place, checkpoint, OPTIONS)
    assert again.was_trained
    assert again.history == result.history
    with pytest.raises(CheckpointMismatchError, match=r"trained with other inputs: options.seed is 1 in the"):
        pool_features(store.place, checkpoint, replace(OPTIONS, seed=2))
    with pytest.raises(UnconfirmedError, match="give --yes as well"):
        pool_features(store.place, checkpoint, replace(OPTIONS, overwrite=True))


def test_an_interrupted_training_ends_with_the_same_weights(
    pooled: tuple[Store, Path, PoolResult], tmp_path: Path
) -> None:
    def stop(event: Event) -> None:
        if isinstance(event, Message) and event.text.startswith("epoch 1"):
            raise KeyboardInterrupt

    store = frame_store(tmp_path / "store", arrays(**SIZES))
    with pytest.raises(KeyboardInterrupt):
        pool_features(store.place, tmp_path / "checkpoint", OPTIONS, listener=stop)
    assert feature_names(store, "test") == ("mine",)
    result = pool_features(store.place, tmp_path / "checkpoint", OPTIONS)
    assert result.history == pooled[2].history
    assert not result.was_trained


def test_it_is_out_of_date_once_its_source_is_rebuilt(tmp_path: Path) -> None:
    splits = arrays(train=40, val=8, test=8)
    store = frame_store(tmp_path / "store", splits)
    pool_features(store.place, tmp_path / "checkpoint", OPTIONS)
    text, frame = splits["test"]
    import_frames(store, {"test": (text, frame[:, ::-1])})
    with pytest.raises(ShardIncompleteError, match=r"commits/test/features/mine/video.*has changed since.*fda pool"):
        fda.evaluate(store.place, "seq")
    states = {one.name: one.state for one in fda.status(store.place).status.splits[2].features}
    assert states["seq"] == "stale: 1 of 2 shards"
    with pytest.raises(StoreMismatchError, match="imported.frame is"):  # other features are never mixed in
        pool_features(store.place, tmp_path / "checkpoint", OPTIONS)
    assert fda.remove(store.place, fda.RemoveOptions(features=("seq",))).removal.features_out_of_date == ()
    again = pool_features(store.place, tmp_path / "checkpoint", OPTIONS)  # what it was trained on is as it was
    assert again.was_trained
    fda.evaluate(store.place, "seq")
    import_frames(store, {"train": ordered_events(9, 40)})
    with pytest.raises(CheckpointMismatchError, match="features_sha256"):
        pool_features(store.place, tmp_path / "checkpoint", OPTIONS)
    anew = pool_features(store.place, tmp_path / "checkpoint", replace(OPTIONS, overwrite=True, yes=True))
    assert anew.history.weights_sha256 != again.history.weights_sha256
    fda.evaluate(store.place, "seq")
    removal = fda.remove(store.place, fda.RemoveOptions(features=("mine",))).removal
    assert removal.features_out_of_date == ("seq",)


def test_without_a_validation_split_videos_are_held_out(tmp_path: Path) -> None:
    store = frame_store(tmp_path / "store", arrays(train=60, test=8))
    result = pool_features(store.place, tmp_path / "checkpoint", replace(OPTIONS, captions="one"))
    assert (result.history.num_train_videos, result.history.num_val_videos) == (54, 6)
    assert result.history.validation == "10% of split 'train', held out: there is no split 'val'"


def test_pairs_of_one_video_belong_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels: list[list[int]] = []

    def step(self: TemporalTrainer, frame: Floats, text: Floats, label: NDArray[np.int64] | None = None) -> float:
        assert label is not None
        labels.append(label.tolist())
        return 1.0

    monkeypatch.setattr(TemporalTrainer, "step", step)
    store = frame_store(tmp_path / "store", arrays(train=8, val=4, test=4))
    temporal = replace(OPTIONS.temporal, epochs=1, batch_size=8)
    pool_features(store.place, tmp_path / "checkpoint", replace(OPTIONS, temporal=temporal))
    assert sorted(labels[0]) == list(range(8))


def test_it_stops_where_nothing_is_learned(tmp_path: Path) -> None:
    """Texts that have nothing to do with the frames: the untrained transformer may well be the best."""
    rng = np.random.default_rng(0)
    splits = arrays(train=64, val=40, test=8)
    unit = rng.standard_normal((64, 16)).astype(np.float32)
    splits["train"] = (unit / np.linalg.norm(unit, axis=1, keepdims=True), splits["train"][1])
    store = frame_store(tmp_path / "store", splits)
    options = replace(OPTIONS, temporal=replace(OPTIONS.temporal, epochs=40, patience=1))
    history = pool_features(store.place, tmp_path / "checkpoint", options).history
    assert len(history.epochs) == history.best_epoch + 2 < 40


def test_frames_must_be_cached(tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint"
    store = frame_store(tmp_path / "pooled", arrays(train=16, val=8), with_frames=False)
    with pytest.raises(fda.InputError, match="have no frames: they were imported without"):
        pool_features(store.place, checkpoint, OPTIONS)
    only_test = frame_store(tmp_path / "test", arrays(test=8))
    with pytest.raises(NotInStoreError, match="no split 'train'"):
        pool_features(only_test.place, checkpoint, OPTIONS)
    both = frame_store(tmp_path / "both", arrays(train=16, val=8, test=8))
    fda.remove(both.place, fda.RemoveOptions(features=("mine",)))
    import_frames(both, arrays(test=8))
    with pytest.raises(NotInStoreError, match=r"cached for 'test', not for 'train'.*--features mine --split train"):
        pool_features(both.place, checkpoint, OPTIONS)
    few = frame_store(tmp_path / "few", arrays(train=1, val=1))
    with pytest.raises(fda.InputError, match="at least 2 videos with captions and one to validate on"):
        pool_features(few.place, tmp_path / "other", OPTIONS)


def test_folders_of_others_are_left_alone(pooled: tuple[Store, Path, PoolResult], tmp_path: Path) -> None:
    store = pooled[0]
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(CheckpointMismatchError, match=r"contains 'thesis.txt', which `fda pool` did not write"):
        pool_features(store.place, tmp_path, replace(OPTIONS, to="other", overwrite=True, yes=True))
    assert (tmp_path / "thesis.txt").read_text() == "years of work"
    with (
        pool_folder(tmp_path / "busy").locked(),
        pytest.raises(CheckpointBusyError, match="another `fda pool` is"),
    ):
        pool_features(store.place, tmp_path / "busy", replace(OPTIONS, to="other"))


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    store = frame_store(tmp_path / "store", arrays(train=16, val=8))
    options = replace(OPTIONS, temporal=replace(OPTIONS.temporal, epochs=1))
    pool_features(store.place, tmp_path / "checkpoint", options)
    weights = tmp_path / "checkpoint" / "pooling.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(CheckpointMismatchError, match="is damaged"):
        pool_features(store.place, tmp_path / "checkpoint", options)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"to": "mine"}, "would be read and written"),
        ({"to": "../x"}, "feature set"),
        ({"val_split": "test"}, "is for testing"),
        ({"train_split": "test_1k"}, "is for testing"),
        ({"val_split": "train"}, "both trained and validated on"),
        ({"captions": "some"}, "captions must be all or one"),
        ({"hold_out_share": 1.0}, "must lie between 0 and 1"),
        ({"yes": True}, "--yes is for --overwrite"),
    ],
)
def test_wrong_options_are_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(OPTIONS, **wrong)  # type: ignore[arg-type]
