"""Which stages a split has, and the shards of each: frames, every mask set, both parts of every feature set."""

from __future__ import annotations

from collections.abc import Iterator

from store.clips.mask_sets import mask_names
from store.features import feature_names, feature_stages
from store.schema import Shard
from store.stages import FRAMES_STAGE, masks_stage
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
