"""Which videos of a store are the same: by the contents of their files, whatever they are called."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from store.commits import read_commit
from store.completion import map_many
from store.stages import FRAMES_STAGE
from store.store import Store


@dataclass(frozen=True, slots=True)
class SharedVideos:
    """Videos that two splits have in common."""

    splits: tuple[str, str]
    pairs: tuple[tuple[str, str], ...]
    """Ids of a video, in the first and in the second of the splits."""


def content_digests(store: Store, split: str) -> dict[str, str]:
    """Id of a video -> sha256 of what it is: its file's digest and the part of the file that it is.

    Only of videos whose file was read when their frames were made.

    Raises:
        NotInStoreError: There is no such split.
    """
    return dict(_digests(store, split))


def _digests(store: Store, split: str, tell: Callable[[], None] = lambda: None) -> Iterator[tuple[str, str]]:
    """Those of a split, shard by shard: there may be millions."""
    shards = store.shards(split)
    records = map_many(store.folder, lambda shard: read_commit(store.folder, shard, FRAMES_STAGE), shards)
    for shard, record in zip(shards, records, strict=True):
        tell()
        if record is None:
            continue
        windows = {one.video_id: (one.start_seconds, one.end_seconds) for one in store.catalog.shard_videos(shard)}
        for outcome in record.outcomes:
            if outcome.source_sha256 is not None and outcome.video_id in windows:
                yield outcome.video_id, _digest(outcome.source_sha256, *windows[outcome.video_id])


def _digest(of_file: str, start_seconds: float, end_seconds: float | None) -> str:
    return hashlib.sha256(json.dumps([of_file, start_seconds, end_seconds]).encode()).hexdigest()


def shared_videos(store: Store, tell: Callable[[], None] = lambda: None) -> Iterator[SharedVideos]:
    """Which videos any two splits have in common, under whatever ids.

    Args:
        store: The store.
        tell: Called for each shard, once its record is read.
    """
    # Splits seldom share any, and then eight bytes a video are all that is kept in memory.
    beginnings = {
        split: np.fromiter((int(digest[:16], 16) for _, digest in _digests(store, split, tell)), np.uint64)
        for split in store.manifest.splits
    }
    for one, other in combinations(beginnings, 2):
        if len(np.intersect1d(beginnings[one], beginnings[other])):
            pairs = _same(content_digests(store, one), content_digests(store, other))
            if pairs:
                yield SharedVideos((one, other), pairs)


def _same(one: Mapping[str, str], other: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    of_other = {digest: video_id for video_id, digest in other.items()}
    return tuple((video_id, of_other[digest]) for video_id, digest in one.items() if digest in of_other)
