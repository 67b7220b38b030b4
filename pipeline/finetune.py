"""Training on the clips of a store: batches out of the shards, a validation after each epoch, the best model kept."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from encoders.encoding import Encoder
from encoders.training import Trainer, TrainOptions
from encoders.weights import LoadedModel, save_checkpoint
from pipeline.alpha import AlphaClips, AlphaSource
from pipeline.batches import MIN_BATCH, Batch, draw_epoch, hold_out
from pipeline.checkpoint import FinetuneResult, write_history
from pipeline.events import EpochDone, Listener, RunPlanned, StepDone, ignore_events
from pipeline.retrieval import evaluate_retrieval
from pipeline.software import MODEL_SOFTWARE, software_versions
from store.arrays import JSON
from store.clips import ClipBatch, ClipReader, clips_identity
from store.store import Store

ENCODE_CLIPS = 16
"""Clips read at a time for validation."""


@dataclass(frozen=True, slots=True)
class FinetuneOptions:
    """What to train on, and how."""

    train: TrainOptions
    train_split: str = "train"
    val_split: str = "val"
    """Where the store has no such split, `hold_out_share` of the train videos is held out instead."""
    hold_out_share: float = 0.1
    mask_name: str = "default"
    alpha: AlphaSource = AlphaSource.MASKS
    seed: int = 0
    """Of batches, captions, hold-out and shuffled masks."""


@dataclass(frozen=True, slots=True)
class _Half:
    """The training or the validation videos: their clips and captions."""

    clips: AlphaClips
    captions: Mapping[int, Sequence[str]]
    """Row -> captions."""


def finetune(
    store: Store, loaded: LoadedModel, folder: Path, options: FinetuneOptions, listener: Listener = ignore_events
) -> FinetuneResult:
    """Train, and keep the weights of the epoch with the best validation text-to-video R@1 in `folder`.

    Raises:
        ValueError: There are too few videos to train on, or to validate on.
        DivergedError: The loss is not finite. The best weights so far stand in `folder`.
    """
    train, val, validation = _halves(store, options)
    rng = np.random.default_rng(options.seed)
    epochs = [draw_epoch(train.captions, options.train.batch_size, rng) for _ in range(options.train.epochs)]
    num_steps = sum(len(epoch) for epoch in epochs)
    listener(RunPlanned("steps", num_steps, 0))
    trainer = Trainer(loaded.model, options.train, num_steps)
    identity = checkpoint_identity(store, loaded, options)
    done: list[EpochDone] = []
    for number, epoch in enumerate(epochs, start=1):
        mean_loss = _train_epoch(trainer, train.clips, epoch, number, listener)
        validation_r1 = _validate(Encoder(loaded.model), val)
        is_best = validation_r1 > max((earlier.validation_r1 for earlier in done), default=-1.0)
        done.append(EpochDone(number, len(epochs), mean_loss, validation_r1, is_best))
        if is_best:
            metadata: dict[str, JSON] = {"identity": identity, "epoch": number, "validation_r1": validation_r1}
            save_checkpoint(folder, loaded.model, loaded.config, metadata)
        listener(done[-1])
    result = _result(tuple(done), train, val, validation)
    write_history(folder, result, identity)
    return result


def checkpoint_identity(store: Store, loaded: LoadedModel, options: FinetuneOptions) -> dict[str, JSON]:
    """What made a checkpoint: with the same, training again gives the same weights on the same kind of machine."""
    return {
        **clips_identity(store, options.train_split, options.mask_name),
        "dataset": store.manifest.dataset["digest"],
        "start": {
            "model": loaded.config.name,
            "architecture": loaded.config.architecture,
            "weights_sha256": loaded.report.sha256,
        },
        "options": json.loads(json.dumps(asdict(options))),
        "software": dict(software_versions(MODEL_SOFTWARE)),
    }


def _halves(store: Store, options: FinetuneOptions) -> tuple[_Half, _Half, str]:
    reader = ClipReader(store, options.train_split, options.mask_name)
    clips = AlphaClips(reader, options.alpha, options.seed)
    captions = _captions(store, options.train_split, reader)
    if options.val_split in store.manifest.splits:
        train = _Half(clips, captions)
        val_reader = ClipReader(store, options.val_split, options.mask_name)
        val_clips = AlphaClips(val_reader, options.alpha, options.seed)
        val = _Half(val_clips, _captions(store, options.val_split, val_reader))
        validation = f"split {options.val_split!r}"
    else:
        train_rows, val_rows = hold_out(sorted(captions), options.hold_out_share, options.seed)
        train = _Half(clips, {row: captions[row] for row in train_rows})
        val = _Half(clips, {row: captions[row] for row in val_rows})
        share = f"{options.hold_out_share:.0%}"
        validation = f"{share} of split {options.train_split!r}, held out: there is no split {options.val_split!r}"
    if len(train.captions) < MIN_BATCH or not val.captions:
        raise ValueError(
            f"training wants at least {MIN_BATCH} videos and one to validate on: "
            f"{store.place} gives {len(train.captions)} and {len(val.captions)}"
        )
    return train, val, validation


def _captions(store: Store, split: str, reader: ClipReader) -> dict[int, list[str]]:
    """Row -> captions, of the rows that hold a video."""
    rows = {video_id: row for row, video_id in reader.video_ids.items()}
    captions: dict[int, list[str]] = {}
    for fields in store.catalog.split_captions(split).select(["video_id", "text"]).to_pylist():
        if fields["video_id"] in rows:
            captions.setdefault(rows[fields["video_id"]], []).append(fields["text"])
    return captions


def _train_epoch(trainer: Trainer, clips: AlphaClips, epoch: Sequence[Batch], number: int, listener: Listener) -> float:
    losses = []
    for batch in epoch:
        read = clips.read([pair.row for pair in batch])
        step = trainer.step(read.frames, read.masks, [pair.text for pair in batch], read.is_frame)
        losses.append(step.loss)
        listener(StepDone(number, step.loss, step.lr))
    return float(np.mean(losses))


def _validate(encoder: Encoder, val: _Half) -> float:
    """Text-to-video R@1 in percent: every caption is a query among the validation videos."""
    rows = sorted(val.captions)
    videos = [
        encoder.encode_clips(clips.frames, clips.masks, clips.is_frame).video for clips in _clips_of(val.clips, rows)
    ]
    texts = [text for row in rows for text in val.captions[row]]
    truth = np.repeat(np.arange(len(rows)), [len(val.captions[row]) for row in rows])
    metrics = evaluate_retrieval(encoder.encode_texts(texts).text, np.concatenate(videos), truth)
    return metrics.text_to_video.r1


def _clips_of(clips: AlphaClips, rows: Sequence[int]) -> Iterator[ClipBatch]:
    for start in range(0, len(rows), ENCODE_CLIPS):
        yield clips.read(rows[start : start + ENCODE_CLIPS])


def _result(done: tuple[EpochDone, ...], train: _Half, val: _Half, validation: str) -> FinetuneResult:
    best = [epoch for epoch in done if epoch.is_best][-1]
    return FinetuneResult(
        epochs=done,
        best_epoch=best.epoch,
        best_validation_r1=best.validation_r1,
        num_train_videos=len(train.captions),
        num_val_videos=len(val.captions),
        validation=validation,
    )
