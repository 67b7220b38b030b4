"""What is read of a feature set to train on: frames and captions of the videos to train and to validate on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from encoders.weights.record import KnownVideos, TrainingRecord
from pipeline.errors import InputError
from pipeline.evaluation.evaluate import frames_of, scorable_features
from pipeline.evaluation.slices.inputs import caption_texts
from pipeline.pooling.options import PoolOptions
from pipeline.run.limits import ALL
from pipeline.training.batches import MIN_BATCH, held_out_words, hold_out
from store.commits import commit_name, file_digest
from store.contents import content_digests
from store.errors import NotInStoreError
from store.features import Features, feature_stages
from store.store import Store


@dataclass(frozen=True, slots=True)
class Part:
    """The videos to train on, or those to validate on."""

    features: Features
    frame: NDArray[np.float32]
    """Shape (num_videos, num_frames, dim), of any norm; NaN for a frame that a video does not have."""
    texts: tuple[str, ...]
    """One for each caption of the features."""

    def of(self, rows: Sequence[int]) -> Part:
        """Some of the videos, with their captions."""
        # Old row -> new row: `truth` points into the videos that are kept.
        features, place = self.features, {row: number for number, row in enumerate(rows)}
        kept = [number for number, row in enumerate(features.truth.tolist()) if row in place]
        some = replace(
            features,
            video_ids=tuple(features.video_ids[row] for row in rows),
            video=features.video[list(rows)],
            caption_ids=tuple(features.caption_ids[number] for number in kept),
            text=features.text[kept],
            truth=np.array([place[row] for row in features.truth[kept].tolist()], np.int64),
        )
        return Part(some, self.frame[list(rows)], tuple(self.texts[number] for number in kept))

    @property
    def captions(self) -> Mapping[int, Sequence[int]]:
        """Row of a video -> its captions, as indices."""
        found: dict[int, list[int]] = {}
        for number, row in enumerate(self.features.truth.tolist()):
            found.setdefault(row, []).append(number)
        return found


@dataclass(frozen=True, slots=True)
class TrainingParts:
    """What is trained and validated on."""

    train: Part
    val: Part
    validation: str
    """Where the videos to validate on come from."""
    record: TrainingRecord
    """Of these videos, by the contents of their files where these are known."""


def parts_of(store: Store, options: PoolOptions) -> TrainingParts:
    """The videos to train on, and those to validate on.

    Raises:
        NotInStoreError: The features have no such split.
        InputError: Their frames are not cached, or there are too few videos.
        ShardIncompleteError: They are not complete, or out of date.
    """
    train = _read(store, options.features, options.train_split)
    val_split = val_split_of(store, options)
    if val_split is None:
        # Only videos with captions are drawn from, sorted, so that the draw depends on the seed alone.
        rows, held_out = hold_out(sorted(train.captions), options.hold_out_share, options.seed)
        val, train = train.of(held_out), train.of(rows)
        validation = held_out_words(options.hold_out_share, options.train_split, "val")
    else:
        val, validation = _read(store, options.features, val_split), f"split {val_split!r}"
    if len(train.captions) < MIN_BATCH or not val.captions:
        raise InputError(
            f"training needs at least {MIN_BATCH} videos with captions and one to validate on: features "
            f"{options.features!r} have {len(train.captions)} and {len(val.captions)}"
        )
    return TrainingParts(train, val, validation, _record_of(store, options, train, val))


def val_split_of(store: Store, options: PoolOptions) -> str | None:
    """The split to validate on; None if a part of the training videos is held out."""
    if options.val_split is not None:
        return options.val_split
    return "val" if "val" in store.manifest.splits else None


def _read(store: Store, name: str, split: str) -> Part:
    try:
        # However many videos are missing: to train on the others is not to claim a number.
        features = scorable_features(store, name, split, ALL)
    except NotInStoreError as error:
        raise NotInStoreError(f"a temporal transformer is trained on cached features of frames: {error}") from error
    return Part(features, frames_of(store, name, split, features), caption_texts(store, features, split))


def inputs_digest(store: Store, options: PoolOptions) -> str:
    """Digest of all commit records of the features to train and validate on: with one more video, it changes."""
    splits = filter(None, (options.train_split, val_split_of(store, options)))
    digests = [
        file_digest(store.folder, commit_name(shard, stage))
        for split in splits
        for stage, shards in feature_stages(store, options.features, split)
        for shard in shards
    ]
    return hashlib.sha256(json.dumps(digests).encode()).hexdigest()


def _record_of(store: Store, options: PoolOptions, train: Part, val: Part) -> TrainingRecord:
    of_train = content_digests(store, options.train_split)
    val_split = val_split_of(store, options)
    of_val = of_train if val_split is None else content_digests(store, val_split)
    known = [
        KnownVideos.of(digests[video_id] for video_id in part.features.video_ids if video_id in digests)
        for part, digests in ((train, of_train), (val, of_val))
    ]
    return TrainingRecord(known[0], known[1])
