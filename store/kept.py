"""How many videos a run that has just been interrupted keeps: those of the shards that are committed."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from store.commits import commit_name, read_commit
from store.schema import Shard
from store.store import Store


class Kept(NamedTuple):
    """Videos of a stage."""

    num_videos: int
    """Of shards that are committed."""
    num_expected: int
    """Of all shards."""


def videos_kept(store: Store, stage: str, splits: Collection[str] = ()) -> Kept:
    """Count by the names in a folder a split, and one record: for a sentence at once, in which nothing is checked.

    Args:
        store: What was written.
        stage: What the run made.
        splits: Of which it made it; nothing for all.

    Raises:
        StoreError: A record cannot be read.
    """
    chosen = [split for split in store.manifest.splits if not splits or split in splits]
    num_videos = sum(_num_committed(store, store.shards(split), stage) for split in chosen)
    return Kept(num_videos, sum(store.layout(split).num_videos for split in chosen))


def _num_committed(store: Store, shards: Sequence[Shard], stage: str) -> int:
    """Videos of the shards that have a record."""
    if not shards:
        return 0
    *others, last = shards
    there = set(store.folder.names(commit_name(last, stage).rpartition("/")[0]))
    num_before = sum(shard.num_rows for shard in others if commit_name(shard, stage) in there)
    record = read_commit(store.folder, last, stage, with_outcomes=False)  # of fewer videos, if the split has grown
    return num_before + (0 if record is None else record.shard.num_rows)
