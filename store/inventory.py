"""Which stages a split has: frames, every mask set, both parts of every feature set; and what was made of what."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from store.clips.mask_sets import mask_names
from store.commits import CommitRecord, read_commit
from store.errors import StoreFormatError
from store.features import feature_names, feature_stages
from store.schema import Shard
from store.stages import FRAMES_STAGE, features_stage, masks_stage
from store.store import Store


def stages_of(store: Store, split: str) -> Iterator[tuple[str, tuple[Shard, ...]]]:
    """Every stage that a split has arrays for, complete or not, with its shards.

    Yields:
        Name of the stage and its shards, in the order in which stages build on each other: `frames`, then `masks/NAME`,
        then `features/NAME/video` and `features/NAME/text`. The shards of the last are of captions.
    """
    shards = store.shards(split)
    yield FRAMES_STAGE, shards
    for name in mask_names(store, split):
        yield masks_stage(name), shards
    for name in feature_names(store, split):
        yield from feature_stages(store, name, split)


def features_from_masks(store: Store, masks: Collection[str]) -> tuple[str, ...]:
    """The feature sets that were made from these mask sets, in any split: without the masks they are out of date."""
    return _made_from(store, [masks_stage(name) for name in masks])


def features_from_features(store: Store, features: Collection[str]) -> tuple[str, ...]:
    """The feature sets that were made from these feature sets: without them they are out of date."""
    return _made_from(store, [features_stage(name, "video") for name in features])


def _made_from(store: Store, stages: Collection[str]) -> tuple[str, ...]:
    prefixes = tuple(f"commits/{split}/{stage}/" for split in store.manifest.splits for stage in stages)
    found: dict[str, None] = {}
    for split in store.manifest.splits:
        for name in feature_names(store, split):
            record = _any_record(store, split, features_stage(name, "video"))
            if record is not None and any(its.startswith(prefixes) for its in record.inputs):
                found[name] = None
    return tuple(found)


def _any_record(store: Store, split: str, stage: str) -> CommitRecord | None:
    """The first record that can be read: all shards of a feature set are made from the same masks."""
    for shard in store.shards(split):
        try:
            record = read_commit(store.folder, shard, stage, with_outcomes=False)
        except StoreFormatError:
            continue
        if record is not None:
            return record
    return None
