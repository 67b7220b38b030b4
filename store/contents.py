"""Which videos of a store are the same: by the contents of their files, whatever they are called."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pyarrow as pa

from store.commits import CommitRecord, commit_name
from store.completion import map_many
from store.errors import StoreMissingError
from store.places.folder import StoreFolder
from store.schema import Shard
from store.stages import FRAMES_STAGE
from store.store import Store

_SOURCE = ("video_id", "source_sha256")
"""What of the outcomes of a record is read."""


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
    tables = map_many(store.folder, lambda shard: _sources(store.folder, shard), shards)
    for shard, table in zip(shards, tables, strict=True):
        tell()
        if table is None:
            continue
        videos = store.catalog.video_rows.of(split, shard.start, shard.stop)
        spans = zip(*(videos[name].to_pylist() for name in ("start_seconds", "end_seconds")), strict=True)
        span_of = dict(zip(videos["video_id"].to_pylist(), spans, strict=True))
        for video_id, sha256 in zip(*(table[name].to_pylist() for name in _SOURCE), strict=True):
            if sha256 is not None and video_id in span_of:
                yield video_id, _digest(sha256, *span_of[video_id])


def _sources(folder: StoreFolder, shard: Shard) -> pa.Table | None:
    """Ids of the videos of a shard and digests of their files, by its record; None if it has none."""
    name = commit_name(shard, FRAMES_STAGE)
    try:
        content = folder.read(name)
    except StoreMissingError:
        return None
    return CommitRecord.from_bytes(content, name, _SOURCE, as_table=True).table


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
        # Equal first eight bytes may be chance: then the whole digests are compared, with all ids in memory.
        if len(np.intersect1d(beginnings[one], beginnings[other])):
            pairs = _same(content_digests(store, one), content_digests(store, other))
            if pairs:
                yield SharedVideos((one, other), pairs)


def _same(one: Mapping[str, str], other: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    of_other = {digest: video_id for video_id, digest in other.items()}
    return tuple((video_id, of_other[digest]) for video_id, digest in one.items() if digest in of_other)
