"""Which shards are complete: committed, with all their data, and made from inputs that have not changed since."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from threading import Lock
from typing import TypeVar

from store.commits import CommitRecord, VideoOutcome, commit_name, file_digest, read_commit, read_record, withdrawn_name
from store.errors import ShardIncompleteError, StoreFormatError, StoreMissingError
from store.places.folder import StoreFolder
from store.schema import Shard
from store.stages import FRAMES_STAGE, command_of
from store.store import Store

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

READ_AT_ONCE = 64
"""Small files that are requested from an object store at a time."""


def map_many(folder: StoreFolder, work: Callable[[_Item], _Result], items: Iterable[_Item]) -> Iterator[_Result]:
    """`map` for work that reads small files: on an object store, `READ_AT_ONCE` of them at a time.

    On a local disk it is a plain loop: reading a record takes less time there than handing it to a thread. Items are
    taken some hundreds at a time, so that a split of millions of rows need not be in memory.
    """
    if folder.is_local:
        yield from map(work, items)
        return
    waiting = iter(items)
    with ThreadPoolExecutor(READ_AT_ONCE, thread_name_prefix="fda-records") as pool:
        while batch := list(islice(waiting, 4 * READ_AT_ONCE)):
            yield from pool.map(work, batch)


def outcomes_of(store: Store, shard: Shard, stage: str = FRAMES_STAGE) -> tuple[VideoOutcome, ...]:
    """How each video of a shard ended in a stage.

    Raises:
        ShardIncompleteError: The shard has not been committed.
    """
    record = read_commit(store.folder, shard, stage)
    if record is None:
        raise _not_committed(store, shard, stage)
    return record.outcomes


def outcomes_of_each(store: Store, shards: Iterable[Shard], stage: str) -> Iterator[tuple[VideoOutcome, ...]]:
    """`outcomes_of` many shards, in order: on an object store, many records are read at a time.

    Raises:
        ShardIncompleteError: A shard has not been committed.
    """
    return map_many(store.folder, lambda shard: outcomes_of(store, shard, stage), shards)


def require_committed(store: Store, shard: Shard, stage: str) -> CommitRecord:
    """The record of a complete shard.

    Raises:
        ShardIncompleteError: The shard is pending.
    """
    record = committed(store, shard, stage)
    if record is None:
        raise ShardIncompleteError(
            f"shard {shard.key} of {store.place} has no {stage} yet, has lost some, or has some that are older "
            f"than what they were made from: run {command_of(stage)} to the end"
        )
    return record


def input_digests(store: Store, shard: Shard, stages: Sequence[str]) -> dict[str, str]:
    """Name -> sha256 of the records of the stages that another stage builds on.

    Take them before you read what the records describe. Data that are rebuilt in between then make the result look out
    of date, and it is rebuilt. The other way round, old data would be recorded under a new digest for ever.

    Raises:
        ShardIncompleteError: One of them has not been committed.
    """
    digests = {}
    for stage in stages:
        digest = file_digest(store.folder, commit_name(shard, stage))
        if digest is None:
            raise _not_committed(store, shard, stage)
        digests[commit_name(shard, stage)] = digest
    return digests


def committed(store: Store, shard: Shard, stage: str) -> CommitRecord | None:
    """The record of a complete shard, or None if the shard is pending.

    A shard is complete when its record exists and is of this very shard, its files have the recorded sizes, and its
    inputs have not changed. A record that cannot be read counts as none, so its shard is rebuilt.
    """
    return _CompletionCheck(store).records(shard, [stage])[0]


def committed_of_each(
    store: Store, shards: Iterable[Shard], stages: Sequence[str], *, num_with_outcomes: int | None = None
) -> Iterator[tuple[Shard, tuple[CommitRecord | None, ...]]]:
    """`committed` for many shards and each of the stages, with far fewer requests than one by one.

    The sizes of files come from listings, a record is read once, and an object store is asked for many at a time.
    Memory does not grow with the number of shards, except for the names and sizes of their files.

    Args:
        store: The store.
        shards: Which rows.
        stages: In the order in which they build on each other.
        num_with_outcomes: So many of the first stages have their outcomes read; all, if None. The records of the others
            come with none, which takes a fifth of the time.

    Yields:
        A shard with its records, in the order of `shards` and `stages`.
    """
    check = _CompletionCheck(store, list_files=True)
    return map_many(
        store.folder, lambda shard: (shard, check.records(shard, stages, num_with_outcomes=num_with_outcomes)), shards
    )


def kept_record(store: Store, shard: Shard, stage: str) -> CommitRecord | None:
    """The record of those rows of a pending shard that need not be rebuilt, or None if there is none.

    That is the record of a shard that has grown since, or the one kept aside of a shard that was being rewritten when
    the run was killed. The files under the latter may be those from before or from after.
    """
    folder = store.folder
    for name in (commit_name(shard, stage), withdrawn_name(shard, stage)):
        try:
            record = read_record(folder, name)
        except StoreFormatError:
            continue
        if record is not None and _is_part(record.shard, shard) and record.stage == stage:
            return record
    return None


class _CompletionCheck:
    """Decides which shards are complete. Threads may share it."""

    def __init__(self, store: Store, *, list_files: bool = False) -> None:
        self._store = store
        self._sizes: dict[str, dict[str, int]] | None = {} if list_files else None
        """Array -> name -> size of its files, if `list_files`."""
        self._lock = Lock()

    def records(
        self, shard: Shard, stages: Sequence[str], *, num_with_outcomes: int | None = None
    ) -> tuple[CommitRecord | None, ...]:
        """The records of a shard in each stage; None if that is pending."""
        contents: dict[str, bytes] = {}
        return tuple(
            self._record(shard, stage, contents, num_with_outcomes is None or number < num_with_outcomes)
            for number, stage in enumerate(stages)
        )

    def _record(self, shard: Shard, stage: str, contents: dict[str, bytes], with_outcomes: bool) -> CommitRecord | None:
        """The record of one stage; what was read of the shard so far is in `contents`, and this record is added."""
        name = commit_name(shard, stage)
        try:
            contents[name] = self._store.folder.read(name)
            record = CommitRecord.from_bytes(contents[name], name, None if with_outcomes else ())
        except (StoreMissingError, StoreFormatError):
            return None
        if record.shard != shard or record.stage != stage:
            return None
        if any(self._num_bytes(written.name) != written.num_bytes for written in record.files):
            return None
        if any(self._input_digest(its, contents) != sha256 for its, sha256 in record.inputs.items()):
            return None
        return record

    def _input_digest(self, name: str, contents: dict[str, bytes]) -> str | None:
        # Masks are made from the frames whose record was read a moment ago. To compare them with that very record saves
        # a request, and the records that are returned fit each other: with a second read, frames that were rebuilt
        # in between could come with masks of the new ones.
        if name in contents:
            return hashlib.sha256(contents[name]).hexdigest()
        return input_digest(self._store, name)

    def _num_bytes(self, name: str) -> int | None:
        if self._sizes is None:
            return self._store.folder.num_bytes(name)
        array = name.rpartition("/")[0]
        with self._lock:
            if array not in self._sizes:
                listed = self._store.folder.walk(array)
                self._sizes[array] = {stored.name: stored.num_bytes for stored in listed}
            return self._sizes[array].get(name)


def input_digest(store: Store, name: str) -> str | None:
    """The sha256 of an input of a shard as it is now, by the name that a record gives it; None if it is missing."""
    if not name.startswith("captions["):
        return file_digest(store.folder, name)
    split, start, stop = name.removeprefix("captions[").removesuffix("]").rsplit(":", 2)
    return store.catalog.captions_digest(Shard(split, 0, int(start), int(stop)))


def _not_committed(store: Store, shard: Shard, stage: str) -> ShardIncompleteError:
    return ShardIncompleteError(
        f"shard {shard.key} of {store.place} has no {stage} yet: run {command_of(stage)} to the end"
    )


def _is_part(part: Shard, whole: Shard) -> bool:
    """Whether one shard is the other, or its beginning before it grew."""
    return (part.split, part.index, part.start) == (whole.split, whole.index, whole.start) and part.stop <= whole.stop
