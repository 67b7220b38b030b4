"""What training reads from a store: the videos to train on, to validate on and to watch; and their scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from encoders.encoding.encoder import Encoder
from encoders.training.processes import Processes
from pipeline.clips.alpha import AlphaClips
from pipeline.clips.read_ahead import read_ahead
from pipeline.errors import InputError
from pipeline.evaluation.metrics import metrics_of
from pipeline.evaluation.protocols import Ties
from pipeline.evaluation.ranking import DotScores, both_ways, text_to_video
from pipeline.run.events import Listener, Phase
from pipeline.training.batches import MIN_BATCH, held_out_words, hold_out
from pipeline.training.options import TrainingRecipe
from store.clips.reader import ClipReader
from store.store import Store

ENCODE_CLIPS = 16
"""Clips read at a time for validation."""


@dataclass(frozen=True, slots=True)
class Half:
    """The training, the validation or the watched videos: their clips and captions."""

    clips: AlphaClips
    captions: Mapping[int, Sequence[str]]
    """Row -> captions."""


@dataclass(frozen=True, slots=True)
class Halves:
    """All videos of a training."""

    train: Half
    val: Half
    watched: Half | None


def training_halves(store: Store, options: TrainingRecipe) -> tuple[Half, Half, str]:
    """Find the videos to train on, those to validate on, and where the latter come from.

    Raises:
        ValueError: There are too few videos, or one split is both trained and validated on.
        NotInStoreError: There is no such split or mask set.
    """
    if options.train_split == options.val_split:
        raise InputError(
            f"split {options.train_split!r} cannot be both trained and validated on: the best weights would be those "
            "that memorised it best. Give another --val-split, or none: then a part of the training videos is held out"
        )
    reader = ClipReader(store, options.train_split, options.mask_name)
    clips = AlphaClips(reader, options.alpha, options.seed, size=options.size)
    captions = _captions_of(store, options.train_split, reader)
    if options.val_split in store.manifest.splits:
        train = Half(clips, captions)
        # All frames and stored masks, also where training draws: scores of two evaluations are of the same clips.
        val_reader = ClipReader(store, options.val_split, options.mask_name)
        val_clips = AlphaClips(val_reader, options.alpha, options.seed, size=options.size)
        val = Half(val_clips, _captions_of(store, options.val_split, val_reader))
        validation = f"split {options.val_split!r}"
    else:
        train_rows, val_rows = hold_out(sorted(captions), options.hold_out_share, options.seed)
        train = Half(clips, {row: captions[row] for row in train_rows})
        val = Half(clips, {row: captions[row] for row in val_rows})
        validation = held_out_words(options.hold_out_share, options.train_split, options.val_split)
    if len(train.captions) < MIN_BATCH or not val.captions:
        raise InputError(
            f"training needs at least {MIN_BATCH} videos and one to validate on: "
            f"{store.place} has {len(train.captions)} and {len(val.captions)}"
        )
    return train, val, validation


def watched_half(store: Store, options: TrainingRecipe) -> Half | None:
    """The videos that are scored at every evaluation and choose nothing; None if there are to be none.

    Raises:
        InputError: The split is trained or validated on, or has no captions.
        NotInStoreError: There is no such split or mask set.
    """
    split = options.watch_split
    if split is None:
        return None
    if split in (options.train_split, options.val_split):
        raise InputError(
            f"split {split!r} is trained on or chosen by, so it cannot be only watched: give another --watch-split"
        )
    reader = ClipReader(store, split, options.mask_name)
    captions = _captions_of(store, split, reader)
    if not captions:
        raise InputError(f"split {split!r} of {store.place} has no video with a caption: give another --watch-split")
    return Half(AlphaClips(reader, options.alpha, options.seed, size=options.size), captions)


def _captions_of(store: Store, split: str, reader: ClipReader) -> dict[int, list[str]]:
    """Row -> captions, of the rows that have a video."""
    rows = {video_id: row for row, video_id in reader.video_ids.items()}
    captions: dict[int, list[str]] = {}
    for fields in store.catalog.split_captions(split).select(["video_id", "text"]).to_pylist():
        if fields["video_id"] in rows:
            captions.setdefault(rows[fields["video_id"]], []).append(fields["text"])
    return captions


@dataclass(frozen=True, slots=True)
class Embedded:
    """The videos and captions of a half, embedded."""

    scores: DotScores
    truth: NDArray[np.int64]
    """Shape (num_captions,): the video of each caption."""

    def t2v_r1(self) -> float:
        """Text-to-video R@1 in percent: every caption is a query among the videos."""
        return metrics_of(text_to_video(self.scores, self.truth), Ties.PESSIMISTIC).r1

    def r1_both_ways(self) -> tuple[float, float]:
        """The same, and video-to-text R@1: every video is a query among the videos, each by its best caption."""
        to_video, to_text = both_ways(self.scores, self.truth)
        return metrics_of(to_video, Ties.PESSIMISTIC).r1, metrics_of(to_text.best, Ties.PESSIMISTIC).r1


def embed(encoder: Encoder, half: Half, processes: Processes, listener: Listener, what: str) -> Embedded:
    """Embed what is to be scored. Each process embeds its share, and all get the result.

    Args:
        encoder: Of the model as it is now.
        half: Its videos and captions.
        processes: That do it together.
        listener: Hears of this process's share.
        what: The videos, for the listener.
    """
    rows = sorted(half.captions)
    texts = [text for row in rows for text in half.captions[row]]
    # Shares are contiguous, so that those of all processes, joined in order, are the whole.
    mine = rows[processes.share(len(rows))]
    dim = encoder.config.embed_dim
    clips = read_ahead(
        half.clips.read, [mine[start : start + ENCODE_CLIPS] for start in range(0, len(mine), ENCODE_CLIPS)]
    )
    phase = Phase(what, len(mine), listener)
    embedded = []
    for batch in clips:
        embedded.append(encoder.encode_clips(batch.frames, batch.masks, batch.is_frame).video)
        phase.done(len(batch.frames))
    # The empty one, for a process whose share is none.
    videos = processes.collect(np.concatenate([np.empty((0, dim), dtype=np.float32), *embedded]))
    text = processes.collect(encoder.encode_texts(texts[processes.share(len(texts))]).text)
    truth = np.repeat(np.arange(len(rows)), [len(half.captions[row]) for row in rows])
    return Embedded(DotScores(np.concatenate(text), np.concatenate(videos)), truth)
