"""Training on the clips of a store: steps, a validation after each epoch, a state to resume from."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from encoders.encoding.encoder import Encoder
from encoders.errors import DivergedError, WeightsMismatchError
from encoders.options import Pooling
from encoders.tokens import Tokenizer
from encoders.training.processes import ALONE, Processes
from encoders.training.trainer import StepResult, TrainBatch, Trainer, train_precision
from encoders.weights.loading import LoadedModel, save_checkpoint
from encoders.weights.record import TrainingRecord
from pipeline.clips.options import AlphaSource
from pipeline.clips.read_ahead import read_ahead
from pipeline.run.events import EpochDone, Event, Listener, Message, RunPlanned, StepDone, ignore_events
from pipeline.run.randomness import Stream, generator
from pipeline.run.software import MODEL_SOFTWARE, software_versions
from pipeline.run.words import plural
from pipeline.training.augment import augment
from pipeline.training.batches import Batch, draw_epoch, num_pairs
from pipeline.training.checkpoint import Progress, TrainingHistory, end_run, read_state, write_run, write_state
from pipeline.training.data import Half, training_halves, validation_r1
from pipeline.training.log import TrainingLog
from pipeline.training.options import TrainingRecipe
from pipeline.training.overlap import training_record
from store.clips.shards import clips_identity
from store.commits import commit_name, file_digest
from store.json_values import JSON
from store.stages import FRAMES_STAGE, masks_stage
from store.store import Store

SAVE_SECONDS = 600.0
"""Between two states from which a run can be resumed; there is also one after each epoch."""
RECENT_STEPS = 20
"""Number of losses that are averaged to see whether training diverges."""
IDS_SHOWN = 8
"""Video ids of a bad batch in an error message; log.jsonl has all of them."""


@dataclass(frozen=True, slots=True)
class _Step:
    """One step of the plan."""

    epoch: int
    """Counted from 1."""
    number: int
    """In the whole run, counted from 1."""
    batch: Batch


def train_model(
    store: Store,
    loaded: LoadedModel,
    folder: Path,
    options: TrainingRecipe,
    listener: Listener = ignore_events,
    *,
    processes: Processes = ALONE,
    save_seconds: float = SAVE_SECONDS,
) -> TrainingHistory:
    """Train, and write the weights of the epoch with the best validation text-to-video R@1 to `folder`.

    A run that was killed and is started again resumes from its last state, and ends with the same bytes.

    Args:
        store: What to train on.
        loaded: The model and the weights to start from; changed in place.
        folder: For the checkpoint; `pipeline.training.checkpoint` lists its files. Of several processes, only the first
            writes.
        options: What to train on, and how.
        listener: Gets an event for each step and each epoch.
        processes: The processes that train together.
        save_seconds: Between two states from which the run can be resumed.

    Raises:
        ValueError: There are too few videos to train on, or to validate on.
        DivergedError: The loss is not finite, or has risen and stays high. The best weights so far are in `folder`.
        WeightsFormatError: The state to resume from is damaged.
    """
    train, val, validation = training_halves(store, options)
    tokenizer = Tokenizer(loaded.config.text_length(options.train.max_words))
    seen = {row: tokenizer.distinguished(texts) for row, texts in train.captions.items()}
    epochs = [
        draw_epoch(seen, options.train.batch_size, options.batches, generator(Stream.EPOCH, options.seed, epoch))
        for epoch in range(options.train.epochs)
    ]
    num_dropped = num_pairs(seen, options.batches) * len(epochs) - sum(
        len(batch) for epoch in epochs for batch in epoch
    )
    num_steps = sum(map(len, epochs))
    identity = checkpoint_identity(store, loaded, options, processes)
    if processes.is_first:
        folder.mkdir(parents=True, exist_ok=True)
        videos = sorted(val.clips.video_ids[row] for row in val.captions)
        write_run(folder, identity, {"from": validation, "video_ids": videos})
    trainer = Trainer(loaded.model, options.train, num_steps, processes)
    progress = read_state(folder, trainer)
    _require_agreement(processes, loaded, trainer)
    record = loaded.training | training_record(store, options, train, val)
    listener(RunPlanned("steps", num_steps, trainer.num_done))
    if num_dropped:
        listener(Message(_dropped_words(num_dropped, seen, options), is_warning=True))
    val_split = options.val_split if options.val_split in store.manifest.splits else None
    run = _Run(
        trainer, loaded, record, folder, options, val_split, progress, identity, processes, listener, save_seconds
    )
    if not processes.is_first:
        run.train(train, val, epochs, None)
    else:
        with TrainingLog(folder, trainer.num_done) as log:
            run.train(train, val, epochs, log)
    best = [epoch for epoch in progress.epochs if epoch.is_best][-1]
    result = TrainingHistory(
        epochs=tuple(progress.epochs),
        best_epoch=best.epoch,
        best_validation_r1=best.validation_r1,
        num_train_videos=len(train.captions),
        num_val_videos=len(val.captions),
        num_pairs_dropped=num_dropped,
        validation=validation,
        chosen_on_test=record.chosen_on_test,
    )
    if processes.is_first:
        end_run(folder, result, identity)
    return result


def checkpoint_identity(
    store: Store, loaded: LoadedModel, options: TrainingRecipe, processes: Processes = ALONE
) -> dict[str, JSON]:
    """The inputs of a checkpoint: training again with the same gives the same weights on the same kind of machine."""
    device = loaded.model.logit_scale.device
    return {
        **clips_identity(store, options.train_split, options.mask_name),
        "clips_sha256": _clips_digest(store, options),
        "dataset": store.manifest.dataset["digest"],
        "start": {
            "model": loaded.config.name,
            "architecture": loaded.config.architecture,
            "weights_sha256": loaded.report.sha256,
        },
        "options": json.loads(json.dumps(asdict(options))),
        "software": dict(software_versions(MODEL_SOFTWARE)),
        "machine": {
            "device": device.type,
            "precision": str(train_precision(options.train, device)),
            "num_processes": processes.world_size,
        },
    }


def _clips_digest(store: Store, options: TrainingRecipe) -> str:
    """Digest of the commit records of all frames and masks to train and validate on: with one more clip, it changes."""
    stages = FRAMES_STAGE, masks_stage(options.mask_name)
    splits = [split for split in (options.train_split, options.val_split) if split in store.manifest.splits]
    digests = [
        file_digest(store.folder, commit_name(shard, stage))
        for split in splits
        for shard in store.shards(split)
        for stage in stages
    ]
    return hashlib.sha256(json.dumps(digests).encode()).hexdigest()


def _require_agreement(processes: Processes, loaded: LoadedModel, trainer: Trainer) -> None:
    """Check that all processes start with the same weights, at the same step."""
    starts = processes.collect((loaded.report.sha256, trainer.num_done))
    if len(set(starts)) > 1:
        raise WeightsMismatchError(
            f"the processes do not start with the same weights and step: {sorted(set(starts))}. All of them "
            "must see the same weights and the same CHECKPOINT folder"
        )


@dataclass
class _Run:
    """The loop over steps and epochs, from the step that the trainer has reached."""

    trainer: Trainer
    loaded: LoadedModel
    record: TrainingRecord
    """Of the weights that are trained, with what they were trained on before."""
    folder: Path
    options: TrainingRecipe
    val_split: str | None
    """None: a part of the training videos is held out."""
    progress: Progress
    identity: Mapping[str, JSON]
    processes: Processes
    listener: Listener
    save_seconds: float

    def train(self, train: Half, val: Half, epochs: Sequence[Sequence[Batch]], log: TrainingLog | None) -> None:
        saved_at = time.monotonic()
        steps = list(_steps(epochs))[self.trainer.num_done :]
        ends = {sum(map(len, epochs[: number + 1])) for number in range(len(epochs))}
        began = time.monotonic()
        for step, batch in zip(steps, read_ahead(lambda step: self._read(train, step), steps), strict=True):
            result = self._take(step, batch, train, log)
            seconds, began = time.monotonic() - began, time.monotonic()
            if log is not None:
                log.step(step.number, _scalars(result, len(step.batch) / seconds), epoch=step.epoch)
            self.listener(StepDone(step.epoch, result.loss, result.lr, len(step.batch)))
            if step.number in ends:
                self._end_epoch(step, train, val, len(epochs), log)
            elif time.monotonic() - saved_at < self.save_seconds:
                continue
            if self.processes.is_first:
                write_state(self.folder, self.trainer, self.progress)
            saved_at = began = time.monotonic()

    def _read(self, train: Half, step: _Step) -> TrainBatch:
        """Read this process's share of a step. Called ahead of the step, in a thread."""
        mine = self.processes.share(len(step.batch))
        rows, numbers = step.batch.rows[mine].tolist(), step.batch.captions[mine].tolist()
        clips = train.clips.read(rows)
        places = range(mine.start, mine.stop)
        # One generator for each place in the whole batch: the number of processes does not change what is drawn.
        rngs = [generator(Stream.AUGMENTATION, self.options.seed, step.epoch, step.number, place) for place in places]
        augment(clips, self.options.batches, rngs, self.loaded.config.patch_size)
        # After augmentation: its jitter and dropout must not turn a control into masks.
        if self.options.alpha in (AlphaSource.ONES, AlphaSource.ZEROS):
            clips.masks[:] = self.options.alpha is AlphaSource.ONES
        texts = [train.captions[row][number] for row, number in zip(rows, numbers, strict=True)]
        labels = step.batch.rows if self.options.batches.same_video == "together" else None
        return TrainBatch(clips.frames, clips.masks, texts, clips.is_frame, labels)

    def _take(self, step: _Step, batch: TrainBatch, train: Half, log: TrainingLog | None) -> StepResult:
        """Take a step; stop if training diverges."""
        try:
            result = self.trainer.step(batch, len(step.batch))
            self._watch(result.loss, math.log(len(step.batch)))
        except DivergedError as error:
            raise self._diverged(str(error), step, train, log) from error
        self.progress.losses.append(result.loss)
        self.progress.sizes.append(len(step.batch))
        return result

    def _diverged(self, what: str, step: _Step, train: Half, log: TrainingLog | None) -> DivergedError:
        ids = [train.clips.video_ids[row] for row in step.batch.rows.tolist()]
        if log is not None:
            log.step(step.number, {}, epoch=step.epoch, diverged=what, video_ids=ids)
        more = f" and {len(ids) - IDS_SHOWN} more, all of them in log.jsonl" if len(ids) > IDS_SHOWN else ""
        return DivergedError(f"{what}. The batch's videos: {', '.join(ids[:IDS_SHOWN])}{more}")

    def _watch(self, loss: float, guess: float) -> None:
        """Raise if the mean of the last losses is over twice the lowest so far, and no better than guessing."""
        progress = self.progress
        progress.recent = [*progress.recent, loss][-RECENT_STEPS:]
        progress.guesses = [*progress.guesses, guess][-RECENT_STEPS:]
        if len(progress.recent) < RECENT_STEPS:
            return
        mean, guess = (sum(values) / RECENT_STEPS for values in (progress.recent, progress.guesses))
        lowest = mean if progress.lowest_mean is None else min(mean, progress.lowest_mean)
        progress.lowest_mean = lowest
        if mean > max(2 * lowest, 0.95 * guess):
            raise DivergedError(
                f"the loss has risen: {mean:.3f} over {RECENT_STEPS} steps up to step {self.trainer.num_done}, "
                f"after {lowest:.3f}; guessing has {guess:.3f}. Lower lr ({self.options.train.lr}) or alpha_lr "
                f"({self.options.train.alpha_lr})"
            )

    def _end_epoch(self, step: _Step, train: Half, val: Half, num_epochs: int, log: TrainingLog | None) -> None:
        progress = self.progress
        mean_loss = float(np.average(progress.losses, weights=progress.sizes))
        encoder = Encoder(
            self.loaded.model,
            precision=self.trainer.precision,
            pooling=Pooling(self.options.train.pooling),
            max_words=self.options.train.max_words,
        )
        heard: list[Event] = []

        def hear(event: Event) -> None:
            heard.append(event)
            self.listener(event)

        try:
            r1 = validation_r1(encoder, val, self.processes, hear)
        except ArithmeticError as error:
            raise self._diverged(f"after step {step.number}, {error}", step, train, log) from error
        is_best = r1 > max((earlier.validation_r1 for earlier in progress.epochs), default=-1.0)
        done = EpochDone(step.epoch, num_epochs, mean_loss, r1, is_best)
        progress.epochs.append(done)
        progress.losses, progress.sizes = [], []
        if is_best and self.processes.is_first:
            metadata: dict[str, JSON] = {
                "identity": self.identity,
                "epoch": step.epoch,
                "validation_r1": r1,
                "pooling": self.options.train.pooling,
                "max_words": self.options.train.max_words,
                "chosen_on_test": self.record.chosen_on_test,
                "train_split": self.options.train_split,
                "val_split": self.val_split,
            }
            save_checkpoint(self.folder, self.loaded.model, self.loaded.config, metadata, self.record)
        if log is not None:
            log.step(step.number, {"mean_loss": mean_loss, "validation_r1": r1}, epoch=step.epoch)
        if heard:  # the validation had a plan of its own: back to the steps
            self.listener(RunPlanned("steps", self.trainer.num_steps, self.trainer.num_done))
        self.listener(done)


def _steps(epochs: Sequence[Sequence[Batch]]) -> Iterator[_Step]:
    number = 0
    for epoch, batches in enumerate(epochs, start=1):
        for batch in batches:
            number += 1
            yield _Step(epoch, number, batch)


def _scalars(result: StepResult, videos_per_second: float) -> dict[str, float]:
    return {
        "loss": result.loss,
        "lr": result.lr,
        "grad_norm": result.grad_norm,
        "logit_scale": result.logit_scale,
        "videos_per_second": round(videos_per_second, 3),
    }


def _dropped_words(num_dropped: int, seen: Mapping[int, Sequence[bytes]], options: TrainingRecipe) -> str:
    num_epochs, num_each = options.train.epochs, num_pairs(seen, options.batches)
    why = "a batch takes no text of two videos, and a pair that is left alone teaches nothing"
    if options.batches.captions == "all" and options.batches.same_video == "apart":
        why += "; nor does it take two captions of a video, unless same_video is together (--set same_video=together)"
    return (
        f"{num_dropped:,} of {plural(num_each * num_epochs, 'pair')} of a clip and a caption, over "
        f"{plural(num_epochs, 'epoch')}, are in no batch: {why}"
    )
