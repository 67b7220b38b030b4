"""Which shards of a feature set are complete: all of them, or the set is refused.

`store.completion` says what complete means. To open a set of 100,000 videos for a search it takes five seconds, most of
them for the outcomes of videos, of which a search needs nothing. `quick_records` looks at the same bytes in half a
second, and leaves every record that it is not sure of to `store.completion`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from store.arrays.reading import in_threads
from store.arrays.shards import attributes_of
from store.commits import METADATA_KEY, CommitRecord, commit_name
from store.completion import READ_AT_ONCE, Pending, judged_of_each
from store.errors import ShardIncompleteError
from store.feature_arrays import open_features
from store.formats.seal import is_sealed
from store.places.folder import OpenFile, StoreFolder, WrittenFile
from store.schema import Shard
from store.stages import FRAMES_STAGE, is_masks_stage, stage_of_record
from store.store import Store

_THREADS = 2
"""Of a local disk: while one waits for a file, the other computes checksums."""

Opener = Callable[[str], OpenFile | None]
Stages = Iterable[tuple[str, Sequence[Shard]]]


def complete_records(
    store: Store, name: str, split: str, stages: Stages, num_rows: int | None = None
) -> list[CommitRecord]:
    """The records of shards of some stages of a feature set, those of videos with their outcomes.

    Args:
        store: The store.
        name: Of the feature set.
        split: Of the store.
        stages: Each with the shards to look at.
        num_rows: For the error: how many a stage has, if more than these.

    Raises:
        ShardIncompleteError: One is missing or older than what it was made from.
    """
    complete: list[CommitRecord] = []
    for stage, shards in stages:
        is_video = stage.endswith("/video")
        found = list(judged_of_each(store, shards, [stage], num_with_outcomes=int(is_video)))
        pending = [(shard, judged) for shard, (judged,) in found if isinstance(judged, Pending)]
        if pending:
            (first, reason), num_all = pending[0], num_rows or sum(shard.num_rows for shard in shards)
            share = (
                f"{sum(shard.num_rows for shard, _ in pending):,} of {num_all:,} {'videos' if is_video else 'captions'}"
            )
            are_new = {judged.is_missing or judged.has_grown for _, judged in pending}
            are = {True: "not encoded yet", False: "out of date"}
            state = " or ".join(are[is_new] for is_new in sorted(are_new, reverse=True))
            raise ShardIncompleteError(
                f"features {name!r}: {share} of split {split!r} of {store.place} are {state} (first "
                f"shard: {first.key}, as {reason.why}): run {_maker(store, name, split)} again"
            )
        complete += [judged for _, (judged,) in found if not isinstance(judged, Pending)]
    return complete


def _maker(store: Store, name: str, split: str) -> str:
    """The command that made a feature set."""
    made_with = attributes_of(open_features(store, name, split, "video"))
    known = {"pooled": "pool", "imported": "import-features"}  # what is pooled may be of imported frames
    command = next((command for key, command in known.items() if key in made_with), "encode")
    return f"the `fda {command}` that made features {name!r}"


def quick_records(store: Store, name: str, split: str, stage: str) -> list[Mapping[str, WrittenFile]]:
    """The files of every video shard of a complete feature set, by their names, with their checksums.

    Raises:
        ShardIncompleteError: A shard is missing or older than what it was made from.
    """
    shards = store.shards(split)
    found: list[Mapping[str, WrittenFile] | None] = [None] * len(shards)
    look = _QuickLook(store, split, stage)

    def look_at(number: int) -> None:
        found[number] = look.files(shards[number])

    in_threads(look_at, len(shards), _THREADS if store.folder.is_local else READ_AT_ONCE)
    doubtful = [shard for shard, files in zip(shards, found, strict=True) if files is None]
    if doubtful:
        for record in complete_records(store, name, split, [(stage, doubtful)], store.layout(split).num_videos):
            found[record.shard.index] = {file.name: file for file in record.files}
    return [files for files in found if files is not None]


class _QuickLook:
    """Looks at commit records without reading their outcomes. Threads may share it."""

    def __init__(self, store: Store, split: str, stage: str) -> None:
        self._folder: StoreFolder = store.folder
        self._split, self._stage = split, stage
        ids = store.catalog.split_videos(split)["video_id"]
        self._ids = [text.encode() for text in ids.to_pylist()]
        self._openers: dict[str, Opener] = {}

    def files(self, shard: Shard) -> dict[str, WrittenFile] | None:
        """The files of a shard whose record is certainly complete; None if it may not be."""
        name = commit_name(shard, self._stage)
        content = self._content(self._stage, name)
        # The ids of a record lie in one piece, as their column has no dictionary. Where they fill several pages, this
        # is not sure.
        if content is None or not is_sealed(content) or self._encoded_ids(shard) not in content:
            return None
        try:
            metadata = quick_metadata(content)
            place = metadata["shard"]
            is_its = (place["index"], place["start"], place["stop"]) == (shard.index, shard.start, shard.stop)
            if not is_its or place["split"] != shard.split or metadata["stage"] != self._stage:
                return None
            if not all(self._is_current(shard, its, sha256) for its, sha256 in metadata["inputs"].items()):
                return None
            return {fields["name"]: WrittenFile.from_dict(fields) for fields in metadata["files"]}
        except (ValueError, KeyError, TypeError, IndexError, RecursionError):
            return None

    def _is_current(self, shard: Shard, name: str, sha256: str) -> bool:
        stage = stage_of_record(name) or ""
        if not (stage == FRAMES_STAGE or is_masks_stage(stage)) or name != commit_name(shard, stage):
            return False
        content = self._content(stage, name)
        return content is not None and hashlib.sha256(content).hexdigest() == sha256

    def _content(self, stage: str, name: str) -> bytes | None:
        if stage not in self._openers:  # two threads may open one each
            self._openers[stage] = self._folder.opener(f"commits/{self._split}/{stage}")
        file = self._openers[stage](name.rpartition("/")[2])
        if file is None:
            return None
        content = np.empty(file.num_bytes, np.uint8)
        return content.tobytes() if file.fill(0, [content]) else None

    def _encoded_ids(self, shard: Shard) -> bytes:
        """The ids of a shard's videos as Parquet's plain encoding has them, one after the other."""
        ids = self._ids[shard.start : shard.stop]
        return b"".join(part for text in ids for part in (len(text).to_bytes(4, "little"), text))


def quick_metadata(content: bytes) -> Any:
    """What a commit record's metadata say, read from its footer without Arrow: an eighth of the time.

    The footer is in Thrift's compact protocol: the key, one byte for the next field, and the value, its length before
    it in groups of seven bits.

    Raises:
        ValueError: It is not found.
    """
    # The last one: an id or a reason before the footer may contain the key.
    start = content.rindex(METADATA_KEY.encode()) + len(METADATA_KEY) + 1
    length = shift = 0
    while True:
        byte = content[start]
        start += 1
        length |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return json.loads(content[start : start + length])
