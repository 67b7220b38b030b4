"""What training reads from a store: the videos to train on and to validate on; and the validation score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from encoders.encoding.encoder import Encoder
from encoders.training.processes import Processes
from pipeline.clips.alpha import AlphaClips
from pipeline.clips.read_ahead import read_ahead
from pipeline.errors import InputError
from pipeline.evaluation.metrics import metrics_of
from pipeline.evaluation.protocols import Ties
from pipeline.evaluation.ranking import DotScores, text_to_video
from pipeline.run.events import Listener, Phase, ignore_events
from pipeline.training.batches import MIN_BATCH, hold_out
from pipeline.training.options import TrainingRecipe
from store.clips.reader import ClipReader
from store.store import Store

ENCODE_CLIPS = 16
"""Clips read at a time for validation."""


@dataclass(frozen=True, slots=True)
class Half:
    """The training or the validation videos: their clips and captions."""

    clips: AlphaClips
    captions: Mapping[int, Sequence[str]]
    """Row -> captions."""


def training_halves(store: Store, options: TrainingRecipe) -> tuple[Half, Half, str]:
    """Find the videos to train on, those to validate on, and where the latter come from.

    Raises:
        ValueError: There are too few videos, or one split is both trained and validated on.
        NotInStoreError: There is no such split or mask set.
    """
    if options.train_split == options.val_split:
        raise InputError(
            f"split {options.train_split!r} cannot be both trained and validated on: the best epoch would be the one "
            "that memorised it best. Give another --val-split, or none: then a part of the training videos is held out"
        )
    reader = ClipReader(store, options.train_split, options.mask_name)
    clips = AlphaClips(reader, options.alpha, options.seed)
    captions = _captions_of(store, options.train_split, reader)
    if options.val_split in store.manifest.splits:
        train = Half(clips, captions)
        val_reader = ClipReader(store, options.val_split, options.mask_name)
        val_clips = AlphaClips(val_reader, options.alpha, options.seed)
        val = Half(val_clips, _captions_of(store, options.val_split, val_reader))
        validation = f"split {options.val_split!r}"
    else:
        train_rows, val_rows = hold_out(sorted(captions), options.hold_out_share, options.seed)
        train = Half(clips, {row: captions[row] for row in train_rows})
        val = Half(clips, {row: captions[row] for row in val_rows})
        share = f"{100 * options.hold_out_share:.3g}%"
        validation = f"{share} of split {options.train_split!r}, held out: there is no split {options.val_split!r}"
    if len(train.captions) < MIN_BATCH or not val.captions:
        raise InputError(
            f"training needs at least {MIN_BATCH} videos and one to validate on: "
            f"{store.place} has {len(train.captions)} and {len(val.captions)}"
        )
    return train, val, validation


def _captions_of(store: Store, split: str, reader: ClipReader) -> dict[int, list[str]]:
    """Row -> captions, of the rows that have a video."""
    rows = {video_id: row for row, video_id in reader.video_ids.items()}
    captions: dict[int, list[str]] = {}
    for fields in store.catalog.split_captions(split).select(["video_id", "text"]).to_pylist():
        if fields["video_id"] in rows:
            captions.setdefault(rows[fields["video_id"]], []).append(fields["text"])
    return captions


def validation_r1(encoder: Encoder, val: Half, processes: Processes, listener: Listener = ignore_events) -> float:
    """Text-to-video R@1 in percent: every caption is a query among the validation videos.

    Each process embeds its share, and all get the result. The listener hears of this process's share.
    """
    rows = sorted(val.captions)
    texts = [text for row in rows for text in val.captions[row]]
    mine = rows[processes.share(len(rows))]
    dim = encoder.config.embed_dim
    clips = read_ahead(
        val.clips.read, [mine[start : start + ENCODE_CLIPS] for start in range(0, len(mine), ENCODE_CLIPS)]
    )
    phase = Phase("validation videos", len(mine), listener)
    embedded = []
    for batch in clips:
        embedded.append(encoder.encode_clips(batch.frames, batch.masks, batch.is_frame).video)
        phase.done(len(batch.frames))
    videos = processes.collect(np.concatenate([np.empty((0, dim), dtype=np.float32), *embedded]))
    text = processes.collect(encoder.encode_texts(texts[processes.share(len(texts))]).text)
    truth = np.repeat(np.arange(len(rows)), [len(val.captions[row]) for row in rows])
    counts = text_to_video(DotScores(np.concatenate(text), np.concatenate(videos)), truth)
    return metrics_of(counts, Ties.PESSIMISTIC).r1
