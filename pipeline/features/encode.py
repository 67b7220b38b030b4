"""Clips and captions of a store -> a feature set: one feature shard for each clip shard, one vector a caption."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from encoders.weights.loading import LoadedModel
from pipeline.clips.alpha import shuffled_masks
from pipeline.clips.options import AlphaSource
from pipeline.features.encoders import Encoders
from pipeline.features.model import require_size
from pipeline.features.options import FeatureRecipe
from pipeline.features.remarks import RESIZED, TRUNCATED
from pipeline.features.shards import EncodeReport, EncodeTask, SplitInputs, run_task
from pipeline.run.events import Listener, Phase, RunPlanned, ignore_events
from pipeline.run.options import HERE, RunOptions
from pipeline.run.partition import WHOLE, Partition
from pipeline.run.plan import Plan, Tally, make_plan
from pipeline.run.software import MODEL_SOFTWARE, software_versions
from pipeline.workers.executors import Executor, run_synchronously
from store.clips.shards import clips_identity
from store.commits import commit_name, file_digest
from store.completion import input_digests, require_committed_of_each
from store.errors import NotInStoreError
from store.features import caption_shards, create_features, feature_set_files, features_made_with
from store.json_values import JSON
from store.names import check_name
from store.own_files import OwnFile, remove_own
from store.schema import Shard
from store.stages import FRAMES_STAGE, features_stage, masks_stage
from store.store import Store

SHARDS_PER_TASK = 8
"""Of a task that goes to a worker: within a task, shards are read and written beside the encoding."""


@dataclass(frozen=True, slots=True)
class SplitEncoded:
    """What was encoded of one split."""

    split: str
    tally: Tally
    """Of all its videos, those encoded before included."""
    num_captions: int
    num_captions_truncated: int
    """Captions encoded by this run that were longer than the model reads."""
    num_captions_encoded: int
    """By this run."""
    num_clips_encoded: int
    """By this run."""
    num_frames_encoded: int
    """By this run, for the features alone."""


@dataclass(frozen=True, slots=True)
class SplitPlan:
    """What is pending of one split, and what it will be made from."""

    inputs: SplitInputs
    clips: Plan
    captions: Plan

    @property
    def num_shards_pending(self) -> int:
        """Of clips and of captions."""
        return len(self.clips.pending) + len(self.captions.pending)

    @property
    def num_captions_pending(self) -> int:
        """In the pending shards."""
        return sum(pending.shard.num_rows for pending in self.captions.pending)


def plan_encode(
    store: Store,
    loaded: LoadedModel,
    options: FeatureRecipe,
    partition: Partition = WHOLE,
    listener: Listener = ignore_events,
) -> tuple[SplitPlan, ...]:
    """Find out what is pending of each split, having checked that the model can take its clips. Nothing is written.

    Raises:
        ShardIncompleteError: Frames or masks are not complete.
        NotInStoreError: There is no such split or mask set.
        ValueError: The model takes frames of another size, or the name cannot be one.
    """
    check_name("feature set", options.features)
    return tuple(_plan_split(store, loaded, options, split, partition, listener) for split in options.splits)


def encode_splits(
    store: Store,
    loaded: LoadedModel,
    options: FeatureRecipe,
    encoders: Encoders,
    listener: Listener = ignore_events,
    *,
    run: RunOptions = HERE,
    executor: Executor = run_synchronously,
) -> tuple[SplitEncoded, ...]:
    """Encode the pending shards of each split; of a partition, only its own shards are encoded and counted.

    Args:
        store: The store.
        loaded: What is encoded with; only what is known of it is used here.
        options: What is encoded, and how.
        encoders: Gives each process that runs a task its encoder.
        listener: Hears how far it is.
        run: With `overwrite`, the features are removed first, but only once everything else has been checked.
        executor: Runs the tasks.

    Raises:
        StoreMismatchError: Features of this name were made from other inputs; the message names both values.
        ShardIncompleteError: Frames or masks are not complete, or were rebuilt under the run.
        NotInStoreError: There is no such split or mask set.
        ValueError: The model takes frames of another size, or the name cannot be one.
    """
    # Checks all splits before anything is removed.
    plans = plan_encode(store, loaded, options, run.partition, listener)
    if run.overwrite:
        remove_own(store.folder, overwritten_files(store, options.features, options.splits))
        plans = plan_encode(store, loaded, options, run.partition, listener)  # all of it is pending now
    for plan in plans:
        dim = options.truncate_dim or loaded.config.embed_dim
        create_features(store, options.features, plan.inputs.split, dim, plan.inputs.identity, options.dtypes)
    return tuple(_encode_split(store, plan, options, encoders, listener, executor) for plan in plans)


def overwritten_files(store: Store, features: str, splits: Sequence[str]) -> tuple[OwnFile, ...]:
    """What a run with `overwrite` removes: the feature set in these splits."""
    return tuple(own for split in splits for own in feature_set_files(store.folder, features, split))


def feature_identity(store: Store, loaded: LoadedModel, options: FeatureRecipe, split: str) -> dict[str, JSON]:
    """What made a feature set: two runs must agree on all but the software to share it."""
    # As it is used: with all ones, no number of videos to compare makes another feature set.
    sensitivity = options.sensitivity_every if options.measures_sensitivity else 0
    return {
        **clips_identity(store, split, options.mask_name),
        "alpha": _drawn_identity(store, options, split) if options.alpha.is_drawn else str(options.alpha),
        "model": model_identity(loaded),
        "pooling": str(options.pooling),
        "precision": options.precision,
        **options.dtypes.identity,
        # Only where they are used: feature sets that are older than these options go on under their name.
        **({} if options.max_words is None else {"max_words": options.max_words}),
        **({} if options.truncate_dim is None else {TRUNCATED: options.truncate_dim}),
        **({} if options.size is None else {RESIZED: {**options.size.identity}}),
        "sensitivity_every": sensitivity,
        "software": dict(software_versions(MODEL_SOFTWARE)),
    }


def model_identity(loaded: LoadedModel) -> dict[str, JSON]:
    """Which model and weights made a feature set, and what they were trained on."""
    return {
        "name": loaded.config.name,
        "architecture": loaded.config.architecture,
        "weights_sha256": loaded.report.sha256,
        "kind": loaded.report.kind,
        "chosen_on_test": bool(loaded.metadata.get("chosen_on_test")) or loaded.training.chosen_on_test,
        "train_split": loaded.metadata.get("train_split"),
        "val_split": loaded.metadata.get("val_split"),
        **({"training": loaded.training.to_dict()} if loaded.training else {}),
    }


def made_with(store: Store, name: str, split: str) -> Mapping[str, JSON] | None:
    """What made the features of a split that are there, or None where there are none."""
    try:
        return features_made_with(store, name, split)
    except NotInStoreError:
        return None


def _drawn_identity(store: Store, options: FeatureRecipe, split: str) -> dict[str, JSON]:
    """What the alpha was drawn from; where masks are shuffled, one clip more or less changes whose each clip gets."""
    drawn: dict[str, JSON] = {"source": str(options.alpha), "seed": options.seed}
    if options.alpha is AlphaSource.SHUFFLED:
        stage = masks_stage(options.mask_name)
        digests = [file_digest(store.folder, commit_name(shard, stage)) for shard in store.shards(split)]
        drawn["masks_sha256"] = hashlib.sha256(json.dumps(digests).encode()).hexdigest()
    return drawn


def num_shards_of(store: Store, options: FeatureRecipe, partition: Partition = WHOLE) -> int:
    """Shards of clips and of captions that a feature set consists of."""
    both = [shards for split in options.splits for shards in (store.shards(split), caption_shards(store, split))]
    return sum(len(partition.take(shards)) for shards in both)


def _plan_split(
    store: Store, loaded: LoadedModel, options: FeatureRecipe, split: str, partition: Partition, listener: Listener
) -> SplitPlan:
    require_size(store, split, loaded.config, resizes=options.size is not None)
    identity = feature_identity(store, loaded, options, split)
    name = options.features
    shards, of_captions = partition.take(store.shards(split)), partition.take(caption_shards(store, split))
    clips = make_plan(store, shards, [features_stage(name, "video")], listener=listener)
    captions = make_plan(store, of_captions, [features_stage(name, "text")], listener=listener)
    stages = FRAMES_STAGE, masks_stage(options.mask_name)
    pending = _shards(clips)
    phase = Phase("records", 2 * len(pending), listener)
    # Before the inputs are checked: if one is rebuilt in between, the features are out of date, and not silently wrong.
    digests = {shard: input_digests(store, shard, stages) for shard in phase.each(pending)}
    for _ in phase.each(require_committed_of_each(store, pending, stages)):
        pass  # raises if frames or masks of a shard are not complete
    givers = None
    if pending and options.alpha is AlphaSource.SHUFFLED:
        givers = shuffled_masks(store, split, options.mask_name, options.seed)
    return SplitPlan(SplitInputs(split, identity, digests, givers), clips, captions)


def _encode_split(
    store: Store,
    plan: SplitPlan,
    options: FeatureRecipe,
    encoders: Encoders,
    listener: Listener,
    executor: Executor,
) -> SplitEncoded:
    inputs, complete = plan.inputs, plan.clips.complete
    listener(RunPlanned("videos", complete.num_videos + plan.clips.num_videos_pending, complete.num_videos))
    reports: list[EncodeReport] = []
    if plan.clips.pending or plan.captions.pending:
        # In this process one task for all: reading and writing stay beside the encoding from shard to shard.
        per_task = None if executor is run_synchronously else SHARDS_PER_TASK
        tasks = _tasks(store, plan, options, encoders, per_task)
        reports = list(executor(run_task, tasks, listener))
    made = Tally.sum(report.tally for report in reports)
    return SplitEncoded(
        split=inputs.split,
        tally=Tally.sum([complete, made]),
        num_captions=store.layout(inputs.split).num_captions,
        num_captions_truncated=sum(report.num_captions_truncated for report in reports),
        num_captions_encoded=plan.num_captions_pending,
        num_clips_encoded=made.num_videos - len(made.failures),
        num_frames_encoded=sum(report.num_frames for report in reports),
    )


def _tasks(
    store: Store, plan: SplitPlan, options: FeatureRecipe, encoders: Encoders, per_task: int | None
) -> Iterator[EncodeTask]:
    """All that is pending in one task, or in tasks of so many shards."""
    # Clips first: they take longest, so that workers that are done early have captions left.
    parts: tuple[Sequence[Shard], Sequence[Shard]] = (_shards(plan.clips), _shards(plan.captions))
    for number, shards in enumerate(parts):
        size = per_task or max(1, len(shards))
        for start in range(0, len(shards), size):
            some = tuple(shards[start : start + size])
            clips, captions = (some, ()) if number == 0 else ((), some)
            yield EncodeTask(store.folder, options, plan.inputs.of(clips), clips, captions, encoders)


def _shards(plan: Plan) -> list[Shard]:
    return [pending.shard for pending in plan.pending]
