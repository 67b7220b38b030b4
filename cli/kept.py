"""How many videos of a store an interrupted command keeps: those of the shards that are committed."""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from store.schema import Shard
    from store.store import Store


def videos_kept(place: str, stage: str, splits: Collection[str] = ()) -> str | None:
    """In words, such as `94 of 318 videos are kept in store`; None where it cannot be known at once.

    Only folders are asked, of which a list of names tells: an object store may not answer, and an interrupt does not
    wait. Nor does it load what the run has not come to load.

    Args:
        place: Of the store.
        stage: What the command makes.
        splits: Of which it makes it; nothing for all.
    """
    if "://" in place or "store.store" not in sys.modules:
        return None
    from store.errors import StoreError
    from store.store import Store

    try:
        store = Store.open(place)
        chosen = [split for split in store.manifest.splits if not splits or split in splits]
        num_kept = sum(_num_committed(store, store.shards(split), stage) for split in chosen)
    except StoreError:
        return None
    num_all = sum(store.layout(split).num_videos for split in chosen)
    verb = "is" if num_kept <= 1 else "are"
    return f"{f'{num_kept:,}' if num_kept else 'none'} of {num_all:,} videos {verb} kept in {place}"


def _num_committed(store: Store, shards: Sequence[Shard], stage: str) -> int:
    """Videos of the shards that have a record."""
    from store.commits import commit_name, read_commit

    if not shards:
        return 0
    *others, last = shards
    there = set(store.folder.names(commit_name(last, stage).rpartition("/")[0]))
    num_before = sum(shard.num_rows for shard in others if commit_name(shard, stage) in there)
    record = read_commit(store.folder, last, stage, with_outcomes=False)  # of fewer videos, if the split has grown
    return num_before + (0 if record is None else record.shard.num_rows)
