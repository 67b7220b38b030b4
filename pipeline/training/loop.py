"""The loop over the steps of a training: batches in, evaluations on the way, a state to resume from."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from encoders.encoding.encoder import Encoder
from encoders.errors import DivergedError
from encoders.options import Pooling
from encoders.training.processes import Processes
from encoders.training.trainer import StepResult, TrainBatch, Trainer
from encoders.weights.loading import LoadedModel, save_checkpoint
from encoders.weights.record import TrainingRecord
from pipeline.clips.read_ahead import read_ahead
from pipeline.run.events import EvaluationDone, Event, Listener, RunPlanned, StepDone
from pipeline.run.randomness import Stream, generator
from pipeline.training.batches import Batch
from pipeline.training.checkpoint import Progress, write_state
from pipeline.training.clips import TrainingClips
from pipeline.training.data import Half, Halves, embed
from pipeline.training.evaluations import evaluation_steps, window_mean
from pipeline.training.log import TrainingLog
from pipeline.training.options import TrainingRecipe
from store.json_values import JSON

SAVE_SECONDS = 600.0
"""Between two states from which a run can be resumed; there is also one after each evaluation."""
RECENT_STEPS = 20
"""Number of losses that are averaged to see whether training diverges."""
IDS_SHOWN = 8
"""Video ids of a bad batch in an error message; log.jsonl has all of them."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the plan."""

    epoch: int
    """Counted from 1."""
    number: int
    """In the whole run, counted from 1."""
    batch: Batch
    is_evaluated: bool
    """Whether the model is evaluated after it; after the last one of an epoch it is."""


@dataclass(frozen=True, slots=True)
class Scores:
    """R@1s of one evaluation, percent."""

    validation: float
    watched_t2v: float | None = None
    watched_v2t: float | None = None


@dataclass
class TrainingLoop:
    """The loop over steps and epochs, from the step that the trainer has reached."""

    trainer: Trainer
    clips: TrainingClips
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

    def train(self, halves: Halves, epochs: Sequence[Sequence[Batch]], log: TrainingLog | None) -> None:
        """Take the steps that are left of a plan."""
        train = halves.train
        saved_at = time.monotonic()
        # The plan is the same in every run, so that resuming is leaving out what is done.
        steps = list(plan_steps(epochs, self.options.train.evaluations))[self.trainer.num_done :]
        began = time.monotonic()
        for step, batch in zip(steps, read_ahead(lambda step: self._read(train, step), steps), strict=True):
            result = self._take(step, batch, train, log)
            # With the wait for the batch: what is slower, reading or training, shows in it.
            seconds, began = time.monotonic() - began, time.monotonic()
            if log is not None:
                log.step(step.number, _scalars(result, len(step.batch) / seconds), epoch=step.epoch)
            self.listener(StepDone(step.epoch, result.loss, result.lr, len(step.batch)))
            if step.is_evaluated:
                self._evaluate(step, halves, len(epochs), log)
            elif time.monotonic() - saved_at < self.save_seconds:
                continue
            # Also after each evaluation: resumed before one, a GPU might score it a little differently, and keep the
            # weights of an evaluation that the history then does not call the best.
            if self.processes.is_first:
                write_state(self.folder, self.trainer, self.progress)
            saved_at = began = time.monotonic()

    def _read(self, train: Half, step: Step) -> TrainBatch:
        """Read this process's share of a step. Called ahead of the step, in a thread."""
        mine = self.processes.share(len(step.batch))
        rows, numbers = step.batch.rows[mine].tolist(), step.batch.captions[mine].tolist()
        places = range(mine.start, mine.stop)
        # One generator for each place in the whole batch: the number of processes does not change what is drawn.
        rngs = [generator(Stream.AUGMENTATION, self.options.seed, step.epoch, step.number, place) for place in places]
        clips = self.clips.read(rows, rngs)
        texts = [train.captions[row][number] for row, number in zip(rows, numbers, strict=True)]
        # Of the whole batch: the loss is over the pairs of all processes.
        labels = step.batch.rows if self.options.batches.same_video == "together" else None
        return TrainBatch(clips.frames, clips.masks, texts, clips.is_frame, labels)

    def _take(self, step: Step, batch: TrainBatch, train: Half, log: TrainingLog | None) -> StepResult:
        """Take a step; stop if training diverges."""
        try:
            result = self.trainer.step(batch, len(step.batch))
            self._watch(result.loss, math.log(len(step.batch)))
        except DivergedError as error:
            raise self._diverged(str(error), step, train, log) from error
        self.progress.losses.append(result.loss)
        self.progress.sizes.append(len(step.batch))
        return result

    def _diverged(self, what: str, step: Step, train: Half, log: TrainingLog | None) -> DivergedError:
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
        # Twice the lowest alone would stop a training whose loss is near 0. Guessing is log(number of pairs).
        if mean > max(2 * lowest, 0.95 * guess):
            raise DivergedError(
                f"the loss has risen: {mean:.3f} over {RECENT_STEPS} steps up to step {self.trainer.num_done}, "
                f"after {lowest:.3f}; guessing has {guess:.3f}. Lower lr ({self.options.train.lr}) or alpha_lr "
                f"({self.options.train.alpha_lr})"
            )

    def _evaluate(self, step: Step, halves: Halves, num_epochs: int, log: TrainingLog | None) -> None:
        """Score the model as it is, and keep it if it is the best so far."""
        progress = self.progress
        # The last batch of an epoch may be smaller.
        mean_loss = float(np.average(progress.losses, weights=progress.sizes))
        scores = self._score(step, halves, log)
        earlier = [one.validation_r1 for one in progress.evaluations]
        mean = window_mean([*earlier, scores.validation], self.options.train.window)
        done = EvaluationDone(
            number=len(earlier) + 1,
            epoch=step.epoch,
            num_epochs=num_epochs,
            step=step.number,
            mean_loss=mean_loss,
            validation_r1=scores.validation,
            window_r1=mean,
            # -1: the first is the best even at 0; of equals, the earlier stays
            is_best=mean > max((one.window_r1 for one in progress.evaluations), default=-1.0),
            watched_t2v_r1=scores.watched_t2v,
            watched_v2t_r1=scores.watched_v2t,
        )
        progress.evaluations.append(done)
        progress.losses, progress.sizes = [], []
        # Before the state is written. Killed in between, this evaluation is made again, and writes the same weights.
        if done.is_best and self.processes.is_first:
            save_checkpoint(self.folder, self.loaded.model, self.loaded.config, self._metadata(done), self.record)
        if log is not None:
            named = {"mean_loss": mean_loss, "validation_r1": done.validation_r1, "window_r1": mean}
            watched = {"watched_t2v_r1": scores.watched_t2v, "watched_v2t_r1": scores.watched_v2t}
            named |= {name: value for name, value in watched.items() if value is not None}
            log.step(step.number, named, epoch=step.epoch, evaluation=done.number)
        self.listener(done)

    def _score(self, step: Step, halves: Halves, log: TrainingLog | None) -> Scores:
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
            scores = scores_of(encoder, halves, self.processes, hear)
        except ArithmeticError as error:
            raise self._diverged(f"after step {step.number}, {error}", step, halves.train, log) from error
        if heard:  # the evaluation had a plan of its own: back to the steps
            self.listener(RunPlanned("steps", self.trainer.num_steps, self.trainer.num_done))
        return scores

    def _metadata(self, done: EvaluationDone) -> dict[str, JSON]:
        """What the file of the weights says of them."""
        return {
            "identity": self.identity,
            "epoch": done.epoch,
            "evaluation": done.number,
            "step": done.step,
            "validation_r1": done.validation_r1,
            "window_r1": done.window_r1,
            "pooling": self.options.train.pooling,
            "max_words": self.options.train.max_words,
            "chosen_on_test": self.record.chosen_on_test,
            "train_split": self.options.train_split,
            "val_split": self.val_split,
        }


def scores_of(encoder: Encoder, halves: Halves, processes: Processes, listener: Listener) -> Scores:
    """Score a model on the validation videos, and on those that are watched."""
    validation = embed(encoder, halves.val, processes, listener, "validation videos").t2v_r1()
    if halves.watched is None:
        return Scores(validation)
    watched = embed(encoder, halves.watched, processes, listener, "watched videos")
    return Scores(validation, *watched.r1_both_ways())


def plan_steps(epochs: Sequence[Sequence[Batch]], evaluations: int) -> Iterator[Step]:
    """The steps of all epochs, with so many evaluations in each."""
    number = 0
    for epoch, batches in enumerate(epochs, start=1):
        evaluated = set(evaluation_steps(len(batches), evaluations))
        for place, batch in enumerate(batches, start=1):
            number += 1
            yield Step(epoch, number, batch, place in evaluated)


def _scalars(result: StepResult, videos_per_second: float) -> dict[str, float]:
    return {
        "loss": result.loss,
        "lr": result.lr,
        "grad_norm": result.grad_norm,
        "logit_scale": result.logit_scale,
        "videos_per_second": round(videos_per_second, 3),
    }
