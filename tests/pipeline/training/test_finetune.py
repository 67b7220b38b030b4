"""Training on a tiny store: the same seed gives the same bytes, the best epoch is kept, and a kill costs only time."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest

import pipeline.training.loop
from cli.main import fda as main
from encoders.errors import DivergedError
from encoders.training.options import TrainOptions
from encoders.training.trainer import StepResult, TrainBatch, Trainer
from encoders.weights.loading import load_checkpoint, load_model
from pipeline.clips.options import AlphaSource
from pipeline.features.encode import feature_identity
from pipeline.features.options import FeatureRecipe
from pipeline.run.checkpoints import CheckpointMismatchError, has_ended
from pipeline.run.events import EvaluationDone, Event, Listener, RunPlanned, StepDone
from pipeline.training.checkpoint import (
    STATE_FILE,
    TrainingHistory,
    finetune_folder,
    is_finished,
    read_history,
)
from pipeline.training.finetune import checkpoint_identity, train_model
from pipeline.training.loop import Scores
from pipeline.training.options import BatchOptions, TrainingRecipe
from store.errors import NotInStoreError
from store.store import Store
from tests.clips_on_disk import run_preprocess, write_small_dataset
from tests.encoders_tiny import assert_close, write_config
from tests.forked import Forked, forked_fda
from tests.seed import drawn
from tests.stores import tree_digest

FILES = ["config.json", "history.json", "model.safetensors", "training.json"]
"""What is the same for the same seed: the logs hold speeds."""

OPTIONS = TrainingRecipe(train=TrainOptions(epochs=2, batch_size=3, lr=1e-3, alpha_lr=1e-3))


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


def digest(folder: Path) -> dict[str, str]:
    return {name: value for name, value in tree_digest(folder).items() if name in FILES}


def train(
    store: Store, config: str, folder: Path, options: TrainingRecipe = OPTIONS, heard: list[Event] | None = None
) -> TrainingHistory:
    events: list[Event] = [] if heard is None else heard
    return train_model(store, load_model(config, "none", None, seed=0), folder, options, events.append)


def test_one_seed_gives_one_checkpoint_to_the_byte(store: Store, config: str, tmp_path: Path) -> None:
    before = tree_digest(Path(store.place))
    results = [train(store, config, tmp_path / name) for name in "ab"]
    assert results[0] == results[1] == read_history(tmp_path / "a")
    assert digest(tmp_path / "a") == digest(tmp_path / "b")
    assert sorted(digest(tmp_path / "a")) == FILES
    assert tree_digest(Path(store.place)) == before


def test_training_tells_every_step_and_epoch(store: Store, config: str, tmp_path: Path) -> None:
    heard: list[Event] = []
    result = train(store, config, tmp_path, heard=heard)
    assert heard[0] == RunPlanned("steps", 4, 0)
    assert [event.epoch for event in heard if isinstance(event, StepDone)] == [1, 1, 2, 2]
    assert tuple(event for event in heard if isinstance(event, EvaluationDone)) == result.evaluations
    assert (result.num_train_videos, result.num_val_videos, result.validation) == (6, 3, "split 'val'")


def test_the_best_epoch_is_kept(store: Store, config: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = iter(map(Scores, [30.0, 60.0, 60.0, 10.0]))
    monkeypatch.setattr(pipeline.training.loop, "scores_of", lambda *arguments: next(scores))
    result = train(store, config, tmp_path / "four", replace(OPTIONS, train=replace(OPTIONS.train, epochs=4)))
    assert [one.is_best for one in result.evaluations] == [True, True, False, False]  # the earlier one of two equals
    assert (result.best_epoch, result.best_validation_r1) == (2, 60.0)
    metadata = load_checkpoint(tmp_path / "four").metadata
    assert (metadata["epoch"], metadata["validation_r1"]) == (2, 60.0)


def test_without_a_val_split_some_of_train_is_held_out(without_val: Store, config: str, tmp_path: Path) -> None:
    result = train(without_val, config, tmp_path, replace(OPTIONS, hold_out_share=0.34))
    assert (result.num_train_videos, result.num_val_videos) == (4, 2)
    assert result.validation == "34% of split 'train', held out: there is no split 'val'"


class Killed(BaseException):
    """Ends a run."""


NUM_KILLS = 3
"""Events at which a training is killed, others at each commit (tests/seed.py)."""


@pytest.mark.parametrize("save_seconds", [0.0, 1e9], ids=["saved after each step", "saved after each epoch"])
def test_a_run_that_was_killed_at_any_event_and_run_again_ends_with_the_same_bytes(
    store: Store, config: str, tmp_path: Path, save_seconds: float
) -> None:
    options = replace(
        OPTIONS,
        train=replace(OPTIONS.train, accumulate=2),
        batches=BatchOptions(
            "all", "together", alpha_ones=0.3, mask_jitter=2, frame_jitter=2, mask_dropout=0.1, flip=0.5
        ),
    )

    def run(folder: Path, listener: Listener) -> None:
        loaded = load_model(config, "none", None, seed=0)
        train_model(store, loaded, folder, options, listener, save_seconds=save_seconds)

    events: list[Event] = []
    run(tmp_path / "whole", events.append)
    assert len(events) == 1 + 8 + 2  # the plan, 12 pairs in batches of 3, twice; two epochs
    logged = [json.loads(line) for line in (tmp_path / "whole/log.jsonl").read_text().splitlines()]
    points = drawn(f"kills of a training that is saved every {save_seconds} s")
    for kill_at in points.sample(range(1, len(events) + 1), NUM_KILLS):
        folder, heard = tmp_path / str(kill_at), list[Event]()

        def listener(event: Event, heard: list[Event] = heard, kill_at: int = kill_at) -> None:
            heard.append(event)
            if len(heard) == kill_at:
                raise Killed

        with pytest.raises(Killed):
            run(folder, listener)
        assert not has_ended(folder)
        resumed: list[Event] = []
        run(folder, resumed.append)
        assert digest(folder) == digest(tmp_path / "whole")
        again = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
        assert [without_speed(line) for line in again] == [without_speed(line) for line in logged]
        if save_seconds == 0 and kill_at > 2:
            planned = resumed[0]
            assert isinstance(planned, RunPlanned)
            assert planned.num_complete > 0  # it did not begin anew


def test_killed_for_real_while_it_saves_and_run_again(store: Store, config: str, tmp_path: Path) -> None:
    """A real process, saving after each step: nearly all of its time goes into writing the state."""

    def begin(folder: Path) -> Forked:
        return Forked(train_long, store.place, config, folder)

    assert begin(tmp_path / "whole").wait() == 0
    folder = tmp_path / "killed"
    for number in range(3):
        process = begin(folder)
        wait_for_log(folder, 4 + 4 * number, process)
        time.sleep(0.003 * number)
        process.kill()
    assert not has_ended(folder)
    with finetune_folder(folder).locked():
        assert not list(folder.glob(".*.partial"))
    assert begin(folder).wait() == 0
    assert digest(folder) == digest(tmp_path / "whole")


def train_long(place: str, config: str, folder: Path) -> None:
    options = replace(OPTIONS, train=replace(OPTIONS.train, epochs=6))
    train_model(Store.open(place), load_model(config, "none"), folder, options, save_seconds=0.0)


def wait_for_log(folder: Path, num_lines: int, process: Forked) -> None:
    log, end = folder / "log.jsonl", time.monotonic() + 300
    while not log.is_file() or log.read_text().count("\n") < num_lines:
        assert process.poll() is None, "it has ended too soon"
        assert time.monotonic() < end, "it does not get on"
        time.sleep(0.001)


def test_what_is_written_has_the_permissions_of_the_users_files(store: Store, config: str, tmp_path: Path) -> None:
    train(store, config, tmp_path / "checkpoint")
    (tmp_path / "plain").touch()
    wanted = (tmp_path / "plain").stat().st_mode
    assert {(tmp_path / "checkpoint" / name).stat().st_mode for name in FILES} == {wanted}


def test_controls_stay_what_they_are_when_clips_are_changed_at_random(
    store: Store, config: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[float] = []
    step = Trainer.step

    def watched(self: Trainer, batch: TrainBatch, batch_size: int | None = None) -> StepResult:
        seen.append(float(batch.masks.mean()))
        return step(self, batch, batch_size)

    monkeypatch.setattr(Trainer, "step", watched)
    changes = BatchOptions(frame_jitter=4, mask_jitter=4, mask_dropout=0.5, alpha_ones=0.5)
    for alpha, value in ((AlphaSource.ONES, 1.0), (AlphaSource.ZEROS, 0.0)):
        seen.clear()
        train(store, config, tmp_path / alpha, replace(OPTIONS, batches=changes, alpha=alpha))
        assert set(seen) == {value}


def test_one_clip_more_is_another_training(tmp_path: Path, config: str) -> None:
    manifest = write_small_dataset(tmp_path, {"train": 6, "val": 2})
    video = tmp_path / "videos/train_1.mp4"
    hidden = video.rename(tmp_path / "hidden.mp4")
    made = run_preprocess(manifest, tmp_path / "store")
    before = checkpoint_identity(made, load_model(config, "none"), OPTIONS)
    hidden.rename(video)
    again = run_preprocess(manifest, tmp_path / "store", retry_failed=True)
    assert checkpoint_identity(again, load_model(config, "none"), OPTIONS)["clips_sha256"] != before["clips_sha256"]


def test_another_split_to_watch_is_named_and_no_clips_are_called_changed(
    store: Store, config: str, tmp_path: Path
) -> None:
    loaded = load_model(config, "none")
    finetune_folder(tmp_path).write_run(checkpoint_identity(store, loaded, OPTIONS))
    (tmp_path / STATE_FILE).touch()
    watching = checkpoint_identity(store, loaded, replace(OPTIONS, watch_split="test"))
    with pytest.raises(CheckpointMismatchError, match='options.watch_split is not set in .* and "test" now') as refused:
        is_finished(tmp_path, watching)
    assert "clips" not in str(refused.value)


def test_training_and_validating_on_one_split_is_refused(store: Store, config: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="split 'train' cannot be both trained and validated on"):
        train(store, config, tmp_path, replace(OPTIONS, val_split="train"))


def test_a_rate_that_is_far_too_high_ends_with_the_videos(store: Store, config: str, tmp_path: Path) -> None:
    wild = replace(OPTIONS, train=TrainOptions(epochs=8, batch_size=6, lr=1e20, alpha_lr=1e20, warmup=0.0))
    with pytest.raises(DivergedError, match=r"The batch's videos: train_"):
        train(store, config, tmp_path, wild)


def without_speed(line: dict[str, object]) -> dict[str, object]:
    return {key: value for key, value in line.items() if key != "videos_per_second"}


def test_what_is_logged_is_there_for_tensorboard_too(store: Store, config: str, tmp_path: Path) -> None:
    train(store, config, tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 2, 3, 4, 4]
    assert set(lines[0]) == {"step", "loss", "lr", "grad_norm", "logit_scale", "videos_per_second", "epoch"}
    assert set(lines[2]) == {"step", "mean_loss", "validation_r1", "window_r1", "epoch", "evaluation"}
    (events,) = (tmp_path / "tensorboard").iterdir()
    content = events.read_bytes()
    for name in (b"loss", b"validation_r1", b"videos_per_second"):
        assert name in content


def test_the_videos_that_validate_are_written_down(without_val: Store, config: str, tmp_path: Path) -> None:
    train(without_val, config, tmp_path, replace(OPTIONS, hold_out_share=0.34))
    validation = json.loads((tmp_path / "training.json").read_text())["validation"]
    assert validation["from"].startswith("34% of split 'train', held out")
    assert len(validation["video_ids"]) == 2
    assert all(video_id.startswith("train_") for video_id in validation["video_ids"])


def test_what_was_chosen_on_test_is_stamped(store: Store, config: str, tmp_path: Path) -> None:
    result = train(store, config, tmp_path, replace(OPTIONS, val_split="test"))
    assert result.chosen_on_test
    loaded = load_checkpoint(tmp_path)
    assert loaded.metadata["chosen_on_test"] is True
    identity = feature_identity(store, loaded, FeatureRecipe("mine", ("test",)), "test")
    assert isinstance(identity["model"], dict)
    assert identity["model"]["chosen_on_test"] is True
    assert not train(store, config, tmp_path / "fair").chosen_on_test


def test_a_loss_that_is_not_finite_stops_with_the_videos_of_the_batch(
    store: Store, config: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, num_steps = Trainer.step, 0

    def broken(trainer: Trainer, batch: TrainBatch, batch_size: int | None = None) -> StepResult:
        nonlocal num_steps
        num_steps += 1
        if num_steps == 3:
            raise DivergedError("the loss is nan at step 3 of 4")
        return step(trainer, batch, batch_size)

    monkeypatch.setattr(Trainer, "step", broken)
    with pytest.raises(DivergedError, match=r"the loss is nan .*The batch's videos: train_\d, train_\d, train_\d$"):
        train(store, config, tmp_path)
    assert load_checkpoint(tmp_path).metadata["epoch"] == 1
    last = json.loads((tmp_path / "log.jsonl").read_text().splitlines()[-1])
    assert (last["step"], len(last["video_ids"])) == (3, 3)
    monkeypatch.undo()
    train(store, config, tmp_path)  # it goes on, and what was said of the broken step is gone
    assert "diverged" not in (tmp_path / "log.jsonl").read_text()


def test_a_loss_that_rises_and_stays_high_stops_the_run(
    store: Store, config: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = iter([0.1] * 25 + [50.0] * 100)
    monkeypatch.setattr(Trainer, "step", lambda trainer, batch, size: StepResult(next(losses), 1.0, 1e-3, 1.0))
    monkeypatch.setattr("pipeline.training.loop.scores_of", lambda *_: Scores(10.0))
    options = replace(OPTIONS, train=replace(OPTIONS.train, epochs=60))
    with pytest.raises(DivergedError, match=r"the loss has risen: .* after 0\.100; .*Lower lr"):
        train(store, config, tmp_path, options)


def be_torchrun(words: list[str]) -> None:
    """`torchrun --standalone --nproc-per-node 2 -m cli.main ...`, which here forks its processes."""
    from torch.distributed.launcher.api import elastic_launch
    from torch.distributed.run import config_from_args, parse_args

    standalone = ("--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0")
    options = [*standalone, "--nproc-per-node", "2", "--start-method", "fork", "cli.main"]
    config, _, _ = config_from_args(parse_args(options))  # type: ignore[no-untyped-call]
    elastic_launch(config, be_fda)(words)


def be_fda(words: list[str]) -> None:
    assert not main(words, prog_name="fda", standalone_mode=False)


def test_two_processes_train_like_one(store: Store, config: str, tmp_path: Path) -> None:
    # Real processes over gloo, under torchrun; batches of 3 give one process one pair and the other two.
    preset = tmp_path / "mine.toml"
    preset.write_text(
        f'[model]\nmodel = "{config}"\npretrained = "none"\n[finetune]\nepochs = 2\nbatch_size = 3\nlr = 1e-3\n'
        'alpha_lr = 1e-3\neps = 1e-3\naccumulate = 2\n[batches]\ncaptions = "all"\nsame_video = "together"\n'
    )
    names = ("alone", "together")
    options = ("--preset", str(preset), "--device", "cpu", "--json")
    alone = forked_fda(tmp_path, "finetune", store.place, tmp_path / "alone", *options)
    words = ["finetune", store.place, str(tmp_path / "together"), *options]
    together = Forked(be_torchrun, words, environment={"OMP_NUM_THREADS": "1"})
    assert together.wait() == 0
    assert alone.wait() == 0
    single, double = (load_checkpoint(tmp_path / name) for name in names)
    start = load_model(config, "none").model.named_tensors()
    moved = 0.0
    for name, tensor in single.model.named_tensors().items():
        assert_close(double.model.named_tensors()[name], tensor, rtol=1e-3, atol=2e-5)
        moved = max(moved, (tensor - start[name]).abs().max().item())
    assert moved > 1e-3  # they did train
    lines = [[json.loads(line) for line in (tmp_path / name / "log.jsonl").read_text().splitlines()] for name in names]
    assert [line["step"] for line in lines[0]] == [line["step"] for line in lines[1]]
    for one, other in zip(*lines, strict=True):
        for key in {"loss", "grad_norm", "mean_loss"} & set(one):
            assert other[key] == pytest.approx(one[key], rel=1e-3)


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
    loaded, encode_options = load_model(config, "none", None, seed=0), FeatureRecipe("mine", ("train",))
    for codec in ("raw", "jpeg"):
        other = replace(store, manifest=replace(store.manifest, frame_codec=codec))
        mine = checkpoint_identity(other, loaded, OPTIONS)
        theirs = feature_identity(other, loaded, encode_options, "train")
        assert (mine["clips"], mine["masks"]) == (theirs["clips"], theirs["masks"])
        assert isinstance(mine["clips"], dict)
        assert mine["clips"]["frame_codec"] == codec


def test_too_few_videos_or_no_split_to_train_on(store: Store, config: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="training needs at least 2 videos and one to validate on: .* has 1 and 1"):
        train(store, config, tmp_path, replace(OPTIONS, train_split="test", val_split="none", hold_out_share=0.5))
    with pytest.raises(NotInStoreError, match="no split 'learn'"):
        train(store, config, tmp_path, replace(OPTIONS, train_split="learn"))
    assert list(tmp_path.iterdir()) == []
