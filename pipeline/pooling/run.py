"""`fda pool`, as one function: train a temporal transformer on cached features, and write what it makes of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from os import PathLike
from pathlib import Path

import numpy as np

from encoders.temporal.trainer import TemporalShape, TemporalTrainer
from pipeline.errors import InputError
from pipeline.pooling.checkpoint import (
    WEIGHTS_FILE,
    PoolingHistory,
    pool_folder,
    read_history,
)
from pipeline.pooling.data import inputs_digest, parts_of, val_split_of
from pipeline.pooling.options import PoolOptions
from pipeline.pooling.training import train_pooling
from pipeline.run.events import ItemsDone, Listener, Reporter, RunPlanned, ignore_events
from pipeline.run.fields import check_kinds, local_path
from pipeline.run.options import RunOptions
from pipeline.run.overwriting import announce, confirm
from pipeline.run.plan import make_plan
from pipeline.run.records import RunClock
from pipeline.run.software import MODEL_SOFTWARE, software_versions
from pipeline.run.writing import Job, claim_on, recorded
from store.clips.shards import slot_checksum
from store.completion import input_digests, require_committed
from store.errors import NotInStoreError
from store.feature_arrays import stored_dtypes, stored_spec
from store.feature_dtypes import FeatureDtypes
from store.feature_reader import FeatureReader
from store.features import (
    ClipFeatures,
    TextFeatures,
    caption_shards,
    create_features,
    feature_names,
    feature_set_files,
    features_made_with,
    read_num_dropped,
    write_clip_features,
    write_text_features,
)
from store.json_values import JSON
from store.own_files import OwnFile, remove_own
from store.schema import Shard
from store.stages import features_stage
from store.store import Store

POOLING = "seqtransf"
"""The `pooling` of a feature set that is made here."""


@dataclass(frozen=True, slots=True)
class SplitPooled:
    """What was written of one split."""

    split: str
    num_videos: int
    """Videos with features, those that were there before included."""
    num_videos_expected: int
    num_captions: int


@dataclass(frozen=True, slots=True)
class PoolResult:
    """How a run of `pool_features` ended."""

    store: str
    features: str
    """Name of the feature set that was written."""
    source: str
    """Name of the one that was read."""
    checkpoint: Path
    history: PoolingHistory
    was_trained: bool
    """Whether this very training had ended before, so that its weights were only applied."""
    splits: tuple[SplitPooled, ...]
    seconds: float
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, JSON]:
        """The result as JSON."""
        return {
            "store": self.store,
            "features": self.features,
            "source": self.source,
            "checkpoint": str(self.checkpoint),
            **json.loads(json.dumps(asdict(self.history))),
            "was_trained": self.was_trained,
            "splits": [asdict(split) for split in self.splits],
            "seconds": round(self.seconds, 3),
            "warnings": list(self.warnings),
        }


def pool_features(
    store: str | PathLike[str],
    checkpoint: str | PathLike[str],
    options: PoolOptions,
    *,
    wait: bool = False,
    listener: Listener = ignore_events,
) -> PoolResult:
    """Train a temporal transformer on the cached frames of a feature set, and write what it makes of them as another.

    The encoder is not run: frames and captions come from the cache, and captions are copied. Killed and called again,
    it goes on after the last epoch that ended, or with the shards that are pending. The feature set is out of date once
    the one that it was made from is rebuilt.

    Args:
        store: A folder, or `s3://bucket/prefix`.
        checkpoint: A local folder for the transformer.
        options: What is read and written, and how it is trained.
        wait: Wait until another run that writes the same has ended, rather than refuse.
        listener: Hears of every step and epoch, then of the videos that are written.

    Raises:
        NotInStoreError: The features have no split to train on.
        InputError: No frames are cached with them, or there are too few videos.
        ShardIncompleteError: They are not complete, or out of date.
        CheckpointMismatchError: The folder holds something else, or was trained otherwise.
        CheckpointBusyError: Another run is writing it.
        StoreMismatchError: Features of the new name were made otherwise.
        StoreBusyError: Another run writes the same features.
        UnconfirmedError: `overwrite` would remove weights or features that are there, and `yes` is not set.
        DivergedError: The loss is not finite.
    """
    clock, report, folder = RunClock(), Reporter(listener), local_path(checkpoint)
    trained = pool_folder(folder)
    check_kinds(options=(options, PoolOptions))
    opened = Store.open(store)
    splits = _splits(opened, options)
    if options.overwrite:
        trained.confirm_removal(yes=options.yes)
        # Refused before the store is claimed; what is there is looked up again under the claim.
        confirm(_written(opened, options, splits), opened.place, yes=options.yes)
    identity = _identity(opened, options)
    asked_for = {"features": options.to, "source": options.features, "checkpoint": str(folder), "splits": list(splits)}
    stages = [f"features/{options.to}/{split}" for split in splits]
    job = Job("pool", stages, identity, {**asked_for, **identity})
    with (
        claim_on(opened.folder, job, RunOptions(wait=wait), report) as claimed,
        recorded(claimed, job, clock) as record,
        trained.locked(),
    ):
        pooling = _Pooling(Store.open(claimed), folder, options, splits)
        if options.overwrite:
            trained.remove()
            files = _written(pooling.store, options, splits)
            announce(files, opened.place, report, yes=options.yes)
            remove_own(claimed, files)
        trained.is_of(identity)  # refuses a folder of other inputs
        # The history is written last: with it, these weights are final, and only shards may be pending.
        ended = read_history(folder)
        history = pooling.train(identity, report.hear) if ended is None else ended
        result = PoolResult(
            store=opened.place,
            features=options.to,
            source=options.features,
            checkpoint=folder,
            history=history,
            was_trained=ended is not None,
            splits=pooling.write(history, report.hear),
            seconds=clock.seconds,
            warnings=report.warnings,
        )
        record.result = result.to_dict()
    return result


def _splits(store: Store, options: PoolOptions) -> tuple[str, ...]:
    """The splits to write.

    Raises:
        NotInStoreError: One has no such features.
    """
    having = [split for split in store.manifest.splits if options.features in feature_names(store, split)]
    for split in (options.train_split, *options.splits):
        if split not in having:
            store.layout(split)  # whether there is such a split at all
            there = ", ".join(map(repr, having)) or "no split"
            raise NotInStoreError(
                f"features {options.features!r} are cached for {there}, not for {split!r}: a temporal transformer is "
                f"trained on cached frames. `fda encode --features {options.features} --split {split}` caches them"
            )
    return options.splits or tuple(having)


def _written(store: Store, options: PoolOptions, splits: tuple[str, ...]) -> list[OwnFile]:
    return [own for split in splits for own in feature_set_files(store.folder, options.to, split)]


def _identity(store: Store, options: PoolOptions) -> dict[str, JSON]:
    """The inputs of the training: the same again give the same weights on the same kind of machine."""
    made_with = features_made_with(store, options.features, options.train_split)
    chosen = {
        "train_split": options.train_split,
        "val_split": val_split_of(store, options),
        "hold_out_share": options.hold_out_share,
        "captions": options.captions,
        "seed": options.seed,
        **asdict(options.temporal),
    }
    return {
        "pooling": POOLING,
        "trained_on": options.features,
        # The features count by their digest below, whatever versions made them.
        "made_with": {key: value for key, value in made_with.items() if key != "software"},
        "features_sha256": inputs_digest(store, options),
        "options": json.loads(json.dumps(chosen)),
        "software": dict(software_versions(MODEL_SOFTWARE)),
    }


@dataclass(frozen=True, slots=True)
class _Pooling:
    """What is trained, and applied."""

    store: Store
    folder: Path
    options: PoolOptions
    splits: tuple[str, ...]

    def train(self, identity: Mapping[str, JSON], listener: Listener) -> PoolingHistory:
        """Train to the end."""
        return train_pooling(parts_of(self.store, self.options), self.folder, identity, self.options, listener)

    def write(self, history: PoolingHistory, listener: Listener) -> tuple[SplitPooled, ...]:
        """Write what is pending of all splits."""
        options = self.options
        num_frames, dim = stored_spec(self.store, options.features, options.train_split, "frame").item_shape
        shape = TemporalShape(dim, num_frames, options.temporal.layers)
        # One step: it is only applied, and its schedule of learning rates is not used.
        trainer = TemporalTrainer(shape, options.temporal, 1, options.seed, options.device)
        trainer.load_weights(self.folder / WEIGHTS_FILE)
        made_by = self._made_by(history)
        return tuple(self._write_split(split, trainer, made_by, listener) for split in self.splits)

    def _made_by(self, history: PoolingHistory) -> dict[str, JSON]:
        """What the feature set says of the transformer."""
        options = self.options
        return {
            "from": options.features,
            "weights_sha256": history.weights_sha256,
            "layers": options.temporal.layers,
            "best_epoch": history.best_epoch,
            "train_split": options.train_split,
            "val_split": val_split_of(self.store, options) or options.train_split,
            **({} if history.training is None else {"training": history.training}),
        }

    def _write_split(
        self, split: str, trainer: TemporalTrainer, made_by: Mapping[str, JSON], listener: Listener
    ) -> SplitPooled:
        store, source, name = self.store, self.options.features, self.options.to
        # Splits may differ in their number of frames: the transformer interpolates its positions between those of
        # training.
        frame_spec = stored_spec(store, source, split, "frame")
        attributes = {**features_made_with(store, source, split), "pooling": POOLING, "pooled": dict(made_by)}
        dtypes = stored_dtypes(store, source, split)
        create_features(store, name, split, frame_spec.item_shape[1], attributes, dtypes)
        clips, num_videos = store.shards(split), store.layout(split).num_videos
        pending = make_plan(store, clips, [features_stage(name, "video")]).pending
        listener(RunPlanned("videos", num_videos, num_videos - sum(one.shard.num_rows for one in pending)))
        reader = FeatureReader(store, source, split)
        for one in pending:
            num_failed = self._write_videos(one.shard, reader, trainer, dtypes)
            listener(ItemsDone(one.shard.num_rows, num_failed))
        dropped = read_num_dropped(store, source, split)
        captions = caption_shards(store, split)
        for one in make_plan(store, captions, [features_stage(name, "text")]).pending:
            shard, stage = one.shard, features_stage(source, "text")
            require_committed(store, shard, stage)
            inputs = input_digests(store, shard, [stage])
            rows = slice(shard.start, shard.stop)
            found = TextFeatures(reader.texts(shard.start, shard.stop), dropped[rows], dtypes.vectors)
            write_text_features(store, name, shard, found, inputs)
        num_filled = sum(
            outcome.filled
            for shard in clips
            for outcome in require_committed(store, shard, features_stage(name, "video")).outcomes
        )
        return SplitPooled(split, num_filled, num_videos, store.layout(split).num_captions)

    def _write_videos(
        self, shard: Shard, reader: FeatureReader, trainer: TemporalTrainer, dtypes: FeatureDtypes
    ) -> int:
        """Pool and commit the videos of a shard; returns how many there are not."""
        store, stage = self.store, features_stage(self.options.features, "video")
        # Before the frames are read: if the source is rebuilt meanwhile, the digests are of the old one, and this is
        # stale.
        digests = input_digests(store, shard, [stage])
        record = require_committed(store, shard, stage)
        frame = reader.frames(shard)
        slots = [outcome.row - shard.start for outcome in record.outcomes if outcome.filled]
        # (videos, dim) of (videos, frames, dim); NaN is a video that failed.
        video = np.full((shard.num_rows, frame.shape[2]), np.nan, np.float32)
        if slots:
            # Features that were imported without frames have NaN there.
            if np.isnan(frame[slots]).all(axis=(1, 2)).any():
                raise InputError(f"features {self.options.features!r} have no frames of some videos of {shard.split!r}")
            made = trainer.pooled(frame[slots])
            video[slots], frame[slots] = made.video, made.frame
        outcomes = tuple(
            replace(outcome, checksum=slot_checksum(video[outcome.row - shard.start]) if outcome.filled else None)
            for outcome in record.outcomes
        )
        # What the source was made from is named, too: once the masks change, both are out of date.
        inputs = {**record.inputs, **digests}
        write_clip_features(store, self.options.to, shard, ClipFeatures(video, frame, outcomes, dtypes=dtypes), inputs)
        return shard.num_rows - len(slots)
