"""What training makes of captions: which are one to the model, which are left out, how much of each is read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from encoders.training.options import TrainOptions
from encoders.training.trainer import StepResult, TrainBatch, Trainer
from encoders.weights.loading import load_checkpoint, load_model
from pipeline.run.events import Event, Message, ignore_events
from pipeline.training.checkpoint import TrainingHistory
from pipeline.training.finetune import train_model
from pipeline.training.options import BatchOptions, TrainingRecipe
from store.store import Store
from tests.clips_on_disk import record, run_preprocess, write_clip, write_manifest
from tests.encoders_tiny import write_config

OPTIONS = TrainingRecipe(train=TrainOptions(epochs=2, batch_size=3, lr=1e-3, alpha_lr=1e-3))


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_config(tmp_path_factory.mktemp("model"))


def train(
    store: Store, config: str, folder: Path, options: TrainingRecipe, heard: list[Event] | None = None
) -> TrainingHistory:
    listener = ignore_events if heard is None else heard.append
    return train_model(store, load_model(config, "none", None, seed=0), folder, options, listener)


@pytest.fixture(scope="module")
def one_text(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Captions that are one to a model, in as many spellings; one video has more of them than all others."""
    folder = tmp_path_factory.mktemp("data")
    write_clip(folder / "a.mp4", 1)
    texts = ["a dog runs", "A dog  runs", "a DOG runs ", "a dog\truns", "A Dog Runs", "a cat sits"]
    captions = [texts[:1], texts[1:2], texts[2:3], texts[3:4], [*texts[4:], "a hen", "a cow", "a pig"]]
    records = [record(f"train_{row}", "a.mp4", "train", some) for row, some in enumerate(captions)]
    return run_preprocess(write_manifest(folder, [*records, record("val_0", "a.mp4", "val")]), folder / "store")


@pytest.mark.parametrize("same_video", ["apart", "together"])
def test_no_batch_has_two_videos_of_what_is_one_text_to_the_model(
    one_text: Store, config: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, same_video: str
) -> None:
    batches: list[list[str]] = []
    step = Trainer.step

    def watched(self: Trainer, batch: TrainBatch, batch_size: int | None = None) -> StepResult:
        batches.append([" ".join(text.lower().split()) for text in batch.texts])
        return step(self, batch, batch_size)

    monkeypatch.setattr(Trainer, "step", watched)
    heard: list[Event] = []
    options = replace(OPTIONS, batches=BatchOptions("all", same_video))
    history = train(one_text, config, tmp_path, options, heard)
    assert batches
    assert all(batch.count("a dog runs") <= 1 for batch in batches)
    num_pairs = 2 * 9
    assert history.num_pairs_dropped == num_pairs - sum(map(len, batches)) > 0
    (said,) = (event.text for event in heard if isinstance(event, Message))
    assert said.startswith(f"{history.num_pairs_dropped} of 18 pairs of a clip and a caption, over 2 epochs, are in no")
    assert ("--set same_video=together" in said) == (same_video == "apart")


def test_a_checkpoint_records_how_much_of_a_caption_it_reads(one_text: Store, config: str, tmp_path: Path) -> None:
    options = replace(OPTIONS, train=replace(OPTIONS.train, epochs=1, max_words=4))
    train(one_text, config, tmp_path, options)
    assert load_checkpoint(tmp_path).metadata["max_words"] == 4
