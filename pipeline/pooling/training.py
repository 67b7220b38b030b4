"""Training a temporal transformer: epochs, a validation after each, a state to resume from."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np

from encoders.temporal.trainer import TemporalShape, TemporalTrainer
from pipeline.evaluation.metrics import metrics_of
from pipeline.evaluation.protocols import Ties
from pipeline.evaluation.ranking import text_to_video
from pipeline.evaluation.scores.dot import DotScores
from pipeline.pooling.checkpoint import (
    STATE_FILE,
    WEIGHTS_FILE,
    PoolingEpoch,
    PoolingHistory,
    best_epoch,
    pool_folder,
)
from pipeline.pooling.data import Part, TrainingParts
from pipeline.pooling.options import PoolOptions
from pipeline.run.events import Listener, Message, RunPlanned, StepDone
from pipeline.run.randomness import Stream, generator
from pipeline.training.batches import Batch, draw_epoch
from pipeline.training.options import BatchOptions
from store.json_values import JSON

VIDEOS_AT_ONCE = 256
"""That are pooled to validate."""


def train_pooling(
    parts: TrainingParts,
    folder: Path,
    identity: Mapping[str, JSON],
    options: PoolOptions,
    listener: Listener,
) -> PoolingHistory:
    """Train until the validation score has not risen for some epochs, and keep the best weights in the folder.

    Killed and called again, it goes on after the last epoch that ended, and on the same machine ends with the same
    weights.

    Raises:
        DivergedError: The loss is not finite.
        WeightsFormatError: The state in the folder is damaged.
    """
    train, val = parts.train, parts.val
    temporal, (_, num_frames, dim) = options.temporal, train.frame.shape
    num_steps = temporal.epochs * max(1, math.ceil(_num_pairs(train, options) / temporal.batch_size))
    shape = TemporalShape(dim, num_frames, temporal.layers)
    trainer = TemporalTrainer(shape, temporal, num_steps, options.seed, options.device)
    epochs: list[PoolingEpoch] = []
    if (folder / STATE_FILE).is_file():
        epochs = [PoolingEpoch(**fields) for fields in json.loads(trainer.load_state(folder / STATE_FILE))]
    else:
        pool_folder(folder).write_run(identity)
    listener(RunPlanned("steps", num_steps, min(trainer.num_done, num_steps)))
    # Epoch 0 is in the list as well.
    while len(epochs) <= temporal.epochs and not _has_stopped(epochs, temporal.patience):
        number = len(epochs)
        # Epoch 0 only validates: untrained, the transformer adds nothing, and is unit-mean pooling.
        mean_loss = _epoch(trainer, train, number, options, listener) if number else None
        epochs.append(_validated(trainer, val, number, mean_loss))
        # Weights before the state: a kill between the two repeats this epoch, which then writes the same weights.
        if best_epoch(epochs) == number:
            trainer.save_weights(folder / WEIGHTS_FILE)
        trainer.save_state(folder / STATE_FILE, json.dumps([asdict(epoch) for epoch in epochs]))
        listener(Message(_words(epochs[-1], is_best=best_epoch(epochs) == number)))
    history = PoolingHistory(
        epochs=tuple(epochs),
        best_epoch=best_epoch(epochs),
        num_train_videos=len(train.captions),
        num_val_videos=len(val.captions),
        validation=parts.validation,
        # Read back from the file, so that the digest is that of what is on disk.
        weights_sha256=trainer.load_weights(folder / WEIGHTS_FILE),
        training=parts.record.to_dict() if parts.record.trained.num_videos else None,
    )
    pool_folder(folder).write_history(asdict(history))
    return history


def _epoch(trainer: TemporalTrainer, train: Part, number: int, options: PoolOptions, listener: Listener) -> float:
    """Take the steps of an epoch; returns the mean loss of its pairs."""
    captions = train.captions
    losses, sizes = [], []
    for batch in _batches(train, number, options):
        texts = [captions[row][place] for row, place in zip(batch.rows.tolist(), batch.captions.tolist(), strict=True)]
        loss = trainer.step(train.frame[batch.rows], train.features.text[texts], batch.rows)
        listener(StepDone(number, loss, options.temporal.lr, len(batch)))
        losses.append(loss)
        sizes.append(len(batch))
    # The last batch may be smaller.
    return float(np.average(losses, weights=sizes))


def _batches(train: Part, number: int, options: PoolOptions) -> Iterator[Batch]:
    texts = {row: [train.texts[caption] for caption in of_video] for row, of_video in train.captions.items()}
    drawn = BatchOptions(captions=options.captions, same_video="together")
    # By the number of the epoch: a run that resumes draws the same batches without having drawn those before.
    rng = generator(Stream.EPOCH, options.seed, number)
    yield from draw_epoch(texts, options.temporal.batch_size, drawn, rng)


def _num_pairs(train: Part, options: PoolOptions) -> int:
    return len(train.texts) if options.captions == "all" else len(train.captions)


def _validated(trainer: TemporalTrainer, val: Part, number: int, mean_loss: float | None) -> PoolingEpoch:
    parts = [
        trainer.pooled(val.frame[start : start + VIDEOS_AT_ONCE]).video
        for start in range(0, len(val.frame), VIDEOS_AT_ONCE)
    ]
    counts = text_to_video(DotScores(val.features.text, np.concatenate(parts)), val.features.truth)
    found = metrics_of(counts, Ties.PESSIMISTIC)
    return PoolingEpoch(number, mean_loss, found.r1, found.mean_rank)


def _has_stopped(epochs: list[PoolingEpoch], patience: int) -> bool:
    return bool(epochs) and len(epochs) - 1 - best_epoch(epochs) >= patience


def _words(epoch: PoolingEpoch, *, is_best: bool) -> str:
    loss = (
        "untrained (unit-mean pooling)"
        if epoch.mean_loss is None
        else f"epoch {epoch.epoch}: loss {epoch.mean_loss:.4f}"
    )
    best = ", the best so far" if is_best else ""
    return f"{loss}, R@1 {epoch.validation_r1:.1f}, mean rank {epoch.validation_mean_rank:.1f}{best}"
