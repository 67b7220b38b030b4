"""Which videos of a store are the same: by the contents of their files, whatever they are called."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations

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
    shards = store.shards(split)
    records = map_many(store.folder, lambda shard: read_commit(store.folder, shard, FRAMES_STAGE), shards)
    of_files = {
        outcome.video_id: outcome.source_sha256
        for record in records
        if record is not None
        for outcome in record.outcomes
        if outcome.source_sha256 is not None
    }
    videos = store.catalog.split_videos(split).select(["video_id", "start_seconds", "end_seconds"]).to_pylist()
    return {
        video["video_id"]: _digest(of_files[video["video_id"]], video["start_seconds"], video["end_seconds"])
        for video in videos
        if video["video_id"] in of_files
    }


def _digest(of_file: str, start_seconds: float, end_seconds: float | None) -> str:
    return hashlib.sha256(json.dumps([of_file, start_seconds, end_seconds]).encode()).hexdigest()


def shared_videos(store: Store) -> Iterator[SharedVideos]:
    """Which videos any two splits have in common, under whatever ids."""
    digests = {split: content_digests(store, split) for split in store.manifest.splits}
    for one, other in combinations(digests, 2):
        if pairs := _same(digests[one], digests[other]):
            yield SharedVideos((one, other), pairs)


def _same(one: Mapping[str, str], other: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    of_other = {digest: video_id for video_id, digest in other.items()}
    return tuple((video_id, of_other[digest]) for video_id, digest in one.items() if digest in of_other)
