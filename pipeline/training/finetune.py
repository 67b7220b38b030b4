"""Training on the clips of a store: its plan, its inputs, its result."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from encoders.errors import WeightsMismatchError
from encoders.tokens import Tokenizer
from encoders.training.processes import ALONE, Processes
from encoders.training.trainer import Trainer, train_precision
from encoders.weights.loading import LoadedModel
from encoders.weights.record import TrainingRecord
from pipeline.run.events import Listener, Message, RunPlanned, ignore_events
from pipeline.run.randomness import Stream, generator
from pipeline.run.software import MODEL_SOFTWARE, software_versions
from pipeline.run.threads import one_cv2_thread
from pipeline.run.words import plural
from pipeline.training.batches import Batch, draw_epoch, num_pairs
from pipeline.training.checkpoint import Progress, TrainingHistory, end_run, finetune_folder, read_state
from pipeline.training.clips import TrainingClips
from pipeline.training.data import Half, Halves, training_halves, watched_half
from pipeline.training.drawn import Drawing
from pipeline.training.log import TrainingLog
from pipeline.training.loop import SAVE_SECONDS, TrainingLoop
from pipeline.training.options import BatchOptions, TrainingRecipe
from pipeline.training.overlap import training_record
from store.clips.shards import clips_identity
from store.commits import commit_name, file_digest
from store.json_values import JSON
from store.stages import FRAMES_STAGE, masks_stage
from store.store import Store


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
    """Train, and write the weights of the evaluation with the best validation text-to-video R@1 to `folder`.

    A run that was killed and is started again resumes from its last state, and ends with the same bytes.

    Args:
        store: What to train on.
        loaded: The model and the weights to start from; changed in place.
        folder: For the checkpoint; `pipeline.training.checkpoint` lists its files. Of several processes, only the first
            writes.
        options: What to train on, and how.
        listener: Gets an event for each step and each evaluation.
        processes: The processes that train together.
        save_seconds: Between two states from which the run can be resumed.

    Raises:
        ValueError: There are too few videos to train on, or to validate on.
        DivergedError: The loss is not finite, or has risen and stays high. The best weights so far are in `folder`.
        WeightsFormatError: The state to resume from is damaged.
    """
    # All that may be refused is refused here, before the folder is made.
    plan = _Plan.of(store, loaded, options)
    identity = checkpoint_identity(store, loaded, options, processes)
    if processes.is_first:
        folder.mkdir(parents=True, exist_ok=True)
        # First of all files: a run that is killed now can be told apart from one with other inputs.
        finetune_folder(folder).write_run(identity, validation=plan.validation(options))
    # The number of steps decides the schedule of the learning rate, so that all batches are drawn before.
    trainer = Trainer(loaded.model, options.train, plan.num_steps, processes)
    progress = read_state(folder, trainer)
    _require_agreement(processes, loaded, trainer)
    listener(RunPlanned("steps", plan.num_steps, trainer.num_done))
    if num_dropped := plan.num_dropped(options.batches):
        listener(Message(_dropped_words(num_dropped, plan.texts, options), is_warning=True))
    # What the weights were trained on before counts as well: a checkpoint may be the start.
    record = loaded.training | training_record(store, options, plan.train, plan.val)
    loop = TrainingLoop(
        trainer=trainer,
        clips=TrainingClips(plan.train.clips, plan.drawing, options.batches, loaded.model.patch_size),
        loaded=loaded,
        record=record,
        folder=folder,
        options=options,
        val_split=options.val_split if options.val_split in store.manifest.splits else None,
        progress=progress,
        identity=identity,
        processes=processes,
        listener=listener,
        save_seconds=save_seconds,
    )
    with one_cv2_thread(), ExitStack() as stack:  # clips are changed in threads of our own
        # At the step of the state: what a killed run had logged after it is dropped, and logged again.
        log = stack.enter_context(TrainingLog(folder, trainer.num_done)) if processes.is_first else None
        loop.train(Halves(plan.train, plan.val, plan.watched), plan.epochs, log)
    result = plan.history(progress, record, options)
    if processes.is_first:
        end_run(folder, result, identity)
    return result


@dataclass(frozen=True, slots=True)
class _Plan:
    """What a training reads, and in which batches."""

    train: Half
    val: Half
    val_from: str
    """Where the validation videos come from."""
    watched: Half | None
    drawing: Drawing | None
    texts: Mapping[int, Sequence[bytes]]
    """Of each video to train on, what the model reads of its captions."""
    epochs: Sequence[Sequence[Batch]]

    @classmethod
    def of(cls, store: Store, loaded: LoadedModel, options: TrainingRecipe) -> _Plan:
        """Open the splits, and draw all batches.

        Raises:
            ValueError: There are too few videos to train on, or to validate on.
        """
        train, val, val_from = training_halves(store, options)
        tokenizer = Tokenizer.of(loaded.config, options.train.max_words)
        # By tokens, not by text: two captions that are cut to the same tokens would be false negatives of each other.
        texts = {row: tokenizer.distinguished(captions) for row, captions in train.captions.items()}
        epochs = [
            draw_epoch(texts, options.train.batch_size, options.batches, generator(Stream.EPOCH, options.seed, epoch))
            for epoch in range(options.train.epochs)
        ]
        return cls(train, val, val_from, watched_half(store, options), Drawing.of(store, options), texts, epochs)

    @property
    def num_steps(self) -> int:
        return sum(map(len, self.epochs))

    def num_dropped(self, options: BatchOptions) -> int:
        """Pairs of a clip and a caption that are in no batch, over all epochs."""
        num_in_batches = sum(len(batch) for epoch in self.epochs for batch in epoch)
        return num_pairs(self.texts, options) * len(self.epochs) - num_in_batches

    def validation(self, options: TrainingRecipe) -> dict[str, JSON]:
        """What the checkpoint says of the videos that choose its weights."""
        videos: list[JSON] = [*sorted(self.val.clips.video_ids[row] for row in self.val.captions)]
        watching: dict[str, JSON] = {} if self.watched is None else {"watched, not chosen by": options.watch_split}
        return {"from": self.val_from, "video_ids": videos, **watching}

    def history(self, progress: Progress, record: TrainingRecord, options: TrainingRecipe) -> TrainingHistory:
        """The result, once all evaluations are made."""
        # Each was the best so far; the last of them has the weights that are in the folder.
        best = [one for one in progress.evaluations if one.is_best][-1]
        return TrainingHistory(
            evaluations=tuple(progress.evaluations),
            best_evaluation=best.number,
            best_epoch=best.epoch,
            best_validation_r1=best.validation_r1,
            num_train_videos=len(self.train.captions),
            num_val_videos=len(self.val.captions),
            num_pairs_dropped=self.num_dropped(options.batches),
            validation=self.val_from,
            chosen_on_test=record.chosen_on_test,
            watch_split=options.watch_split,
        )


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
        "options": json.loads(json.dumps(asdict(options))),  # as it is read back: tuples are lists, and enums texts
        "software": dict(software_versions(MODEL_SOFTWARE)),
        "machine": {
            "device": device.type,
            "precision": str(train_precision(options.train, device)),
            "num_processes": processes.world_size,
        },
    }


def _clips_digest(store: Store, options: TrainingRecipe) -> str:
    """Digest of the commit records of all frames and masks that are read: with one more clip, it changes."""
    stages = FRAMES_STAGE, masks_stage(options.mask_name)
    used = options.train_split, options.val_split, options.watch_split
    splits = [split for split in used if split is not None and split in store.manifest.splits]
    digests = [
        file_digest(store.folder, commit_name(shard, stage))
        for split in splits
        for shard in store.shards(split)
        for stage in stages
    ]
    return hashlib.sha256(json.dumps(digests).encode()).hexdigest()


def _require_agreement(processes: Processes, loaded: LoadedModel, trainer: Trainer) -> None:
    """Check that all processes start with the same weights, at the same step."""
    # A process that reads another folder would begin at step 0, and wait for the others for ever.
    starts = processes.collect((loaded.report.sha256, trainer.num_done))
    if len(set(starts)) > 1:
        raise WeightsMismatchError(
            f"the processes do not start with the same weights and step: {sorted(set(starts))}. All of them "
            "must see the same weights and the same CHECKPOINT folder"
        )


def _dropped_words(num_dropped: int, seen: Mapping[int, Sequence[bytes]], options: TrainingRecipe) -> str:
    num_epochs, num_each = options.train.epochs, num_pairs(seen, options.batches)
    why = "a batch takes no text of two videos, and a pair that is left alone teaches nothing"
    if options.batches.captions == "all" and options.batches.same_video == "apart":
        why += (
            "; nor does it take two captions of a video, unless same_video is together or negatives (--set "
            "same_video=together)"
        )
    return (
        f"{num_dropped:,} of {plural(num_each * num_epochs, 'pair')} of a clip and a caption, over "
        f"{plural(num_epochs, 'epoch')}, are in no batch: {why}"
    )
