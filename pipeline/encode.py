"""Clips and captions of a store -> a feature set: one feature shard for each clip shard, one vector a caption."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from encoders.encoding import Encoder
from encoders.weights import LoadedModel
from pipeline.alpha import AlphaClips, AlphaSource
from pipeline.events import ItemsDone, Listener, RunPlanned, ignore_events
from pipeline.partition import WHOLE, Partition
from pipeline.plan import Plan, Tally, make_plan
from pipeline.software import MODEL_SOFTWARE, software_versions
from store.arrays import JSON
from store.clips import ClipReader, clips_identity, input_digests, outcomes_of, slot_checksum
from store.commits import FRAMES_STAGE, VideoOutcome, commit_name, file_digest, masks_stage
from store.errors import ShardIncompleteError
from store.features import (
    caption_shards,
    create_features,
    features_stage,
    remove_features,
    write_clip_features,
    write_text_features,
)
from store.files import check_name
from store.schema import Shard
from store.store import Store


@dataclass(frozen=True, slots=True)
class EncodeOptions:
    """Which clips go through the model, and with which alpha channel."""

    features: str
    """Name of the feature set."""
    splits: tuple[str, ...]
    mask_name: str = "default"
    alpha: AlphaSource = AlphaSource.MASKS
    shuffle_seed: int = 0
    """Which other clip's masks a clip gets, where `alpha` is `shuffled`."""


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


@dataclass(frozen=True, slots=True)
class _SplitInputs:
    """What a split is encoded from, and what it was when its clips were opened."""

    split: str
    identity: Mapping[str, JSON]
    """What will have made the features. This and the digests were taken before the clips were opened: where another
    run makes frames or masks anew from then on, the features are known as older."""
    digests: Mapping[Shard, Mapping[str, str]]
    """Shard -> what `input_digests` gave for it."""
    clips: AlphaClips


def encode(
    store: Store,
    loaded: LoadedModel,
    options: EncodeOptions,
    listener: Listener = ignore_events,
    *,
    overwrite: bool = False,
    partition: Partition = WHOLE,
) -> tuple[SplitEncoded, ...]:
    """Encode what each split owes; `overwrite` removes the features first, once all is known to be right.

    Of a partition, what is counted is its own shards.

    Raises:
        StoreMismatchError: Features of this name were made from other inputs; the message names both values.
        ShardIncompleteError: Frames or masks are not complete.
        NotInStoreError: There is no such split or mask set.
        ValueError: The model takes frames of another size, or the name cannot be one.
    """
    encoder = Encoder(loaded.model)
    check_name("feature set", options.features)
    opened = [_open_split(store, loaded, options, split) for split in options.splits]
    if overwrite:
        for split in options.splits:
            remove_features(store.folder, options.features, split)
    dim = loaded.config.embed_dim
    return tuple(_encode_split(store, encoder, inputs, dim, options, listener, partition) for inputs in opened)


def feature_identity(store: Store, loaded: LoadedModel, options: EncodeOptions, split: str) -> dict[str, JSON]:
    """What made a feature set: two runs must agree on all but the software to share it."""
    shuffled = options.alpha is AlphaSource.SHUFFLED
    return {
        **clips_identity(store, split, options.mask_name),
        "alpha": _shuffled_identity(store, options, split) if shuffled else str(options.alpha),
        "model": {
            "name": loaded.config.name,
            "architecture": loaded.config.architecture,
            "weights_sha256": loaded.report.sha256,
            "kind": loaded.report.kind,
        },
        "pooling": "mean of the [CLS] of the frames that there are, then unit norm",
        "precision": "float32",
        "software": dict(software_versions(MODEL_SOFTWARE)),
    }


def _shuffled_identity(store: Store, options: EncodeOptions, split: str) -> dict[str, JSON]:
    """Which masks were shuffled, and how: one clip more or less in the split changes whose masks each clip gets."""
    stage = masks_stage(options.mask_name)
    digests = [file_digest(store.folder, commit_name(shard, stage)) for shard in store.shards(split)]
    all_masks = hashlib.sha256(json.dumps(digests).encode()).hexdigest()
    return {"source": str(options.alpha), "seed": options.shuffle_seed, "masks_sha256": all_masks}


def _open_split(store: Store, loaded: LoadedModel, options: EncodeOptions, split: str) -> _SplitInputs:
    """Open the clips of a split for reading, having checked that the model can take them."""
    layout, image_size = store.layout(split), loaded.config.image_size
    if (layout.height, layout.width) != (image_size, image_size):
        raise ValueError(
            f"the frames of split {split!r} are {layout.height} x {layout.width} pixels, {loaded.config.name} "
            f"takes {image_size} x {image_size}: preprocess with --image-size {image_size}, or choose another model"
        )
    identity = feature_identity(store, loaded, options, split)
    digests = {shard: input_digests(store, shard, _input_stages(options)) for shard in store.shards(split)}
    reader = ClipReader(store, split, options.mask_name)
    return _SplitInputs(split, identity, digests, AlphaClips(reader, options.alpha, options.shuffle_seed))


def _input_stages(options: EncodeOptions) -> tuple[str, str]:
    return FRAMES_STAGE, masks_stage(options.mask_name)


def _encode_split(
    store: Store,
    encoder: Encoder,
    inputs: _SplitInputs,
    dim: int,
    options: EncodeOptions,
    listener: Listener,
    partition: Partition,
) -> SplitEncoded:
    name, split = options.features, inputs.split
    create_features(store, name, split, dim, inputs.identity)
    clip_plan = make_plan(store, partition.take(store.shards(split)), [features_stage(name, "video")])
    text_plan = make_plan(store, partition.take(caption_shards(store, split)), [features_stage(name, "text")])
    num_videos = clip_plan.standing.num_videos + clip_plan.num_videos_owed
    listener(RunPlanned("videos", num_videos, clip_plan.standing.num_videos))

    encoded: list[Tally] = []
    for shard in _shards(clip_plan):
        shard_tally = _encode_clips(store, encoder, inputs, options, shard)
        encoded.append(shard_tally)
        listener(ItemsDone(shard.num_rows, len(shard_tally.failures)))
    num_truncated = sum(_encode_captions(store, encoder, name, shard) for shard in _shards(text_plan))
    return SplitEncoded(
        split=split,
        tally=Tally.sum([clip_plan.standing, *encoded]),
        num_captions=store.layout(split).num_captions,
        num_captions_truncated=num_truncated,
        num_captions_encoded=sum(shard.num_rows for shard in _shards(text_plan)),
        num_clips_encoded=sum(tally.num_videos - len(tally.failures) for tally in encoded),
    )


def _encode_clips(store: Store, encoder: Encoder, inputs: _SplitInputs, options: EncodeOptions, shard: Shard) -> Tally:
    """Encode and commit one shard. Slots without a video keep NaN: never a vector that could be scored.

    Raises:
        ShardIncompleteError: Its frames or masks were made anew since they were opened.
    """
    digests = inputs.digests[shard]
    outcomes = outcomes_of(store, shard, masks_stage(options.mask_name))
    if input_digests(store, shard, _input_stages(options)) != digests:
        raise ShardIncompleteError(
            f"shard {shard.key} of {store.place} has been made anew since this run opened it: "
            "run the same command again"
        )
    rows = [outcome.row for outcome in outcomes if outcome.filled]
    batch = inputs.clips.read(rows)
    embedded = encoder.encode_clips(batch.frames, batch.masks, batch.is_frame)
    video = np.full((shard.num_rows, *embedded.video.shape[1:]), np.nan, dtype=np.float32)
    frame = np.full((shard.num_rows, *embedded.frame.shape[1:]), np.nan, dtype=np.float32)
    slots = batch.rows - shard.start
    video[slots], frame[slots] = embedded.video, embedded.frame
    feature_outcomes = tuple(
        VideoOutcome(
            video_id=outcome.video_id,
            row=outcome.row,
            status=outcome.status,
            filled=outcome.filled,
            checksum=slot_checksum(video[outcome.row - shard.start]) if outcome.filled else None,
        )
        for outcome in outcomes
    )
    write_clip_features(store, options.features, shard, video, frame, feature_outcomes, digests)
    return Tally.of(shard.split, feature_outcomes)


def _encode_captions(store: Store, encoder: Encoder, name: str, shard: Shard) -> int:
    """Encode and commit one shard of captions, and return how many were cut to the model's context."""
    texts: Sequence[str] = (
        store.catalog.split_captions(shard.split)["text"].slice(shard.start, shard.num_rows).to_pylist()
    )
    embedded = encoder.encode_texts(texts)
    write_text_features(store, name, shard, embedded.text)
    return embedded.num_truncated


def _shards(plan: Plan) -> list[Shard]:
    return [owed.shard for owed in plan.owed]
