"""Which shards are complete: committed, with all their data, and made from inputs that have not changed since."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from threading import Lock

from store.commits import (
    CommitRecord,
    VideoOutcome,
    _read_record,
    commit_name,
    file_digest,
    read_commit,
    withdrawn_name,
)
from store.errors import ShardIncompleteError, StoreFormatError
from store.schema import Shard
from store.stages import FRAMES_STAGE, command_of
from store.store import Store


def outcomes_of(store: Store, shard: Shard, stage: str = FRAMES_STAGE) -> tuple[VideoOutcome, ...]:
    """How each video of a shard fared.

    Raises:
        ShardIncompleteError: The shard has not been committed.
    """
    record = read_commit(store.folder, shard, stage)
    if record is None:
        raise _has_none(store, shard, stage)
    return record.outcomes


def _has_none(store: Store, shard: Shard, stage: str) -> ShardIncompleteError:
    return ShardIncompleteError(
        f"shard {shard.key} of {store.place} has no {stage} yet: run {command_of(stage)} to the end"
    )


def require_committed(store: Store, shard: Shard, stage: str) -> CommitRecord:
    """The record of a shard whose data stand, made from inputs that have not changed since.

    Raises:
        ShardIncompleteError: It is not so.
    """
    record = committed(store, shard, stage)
    if record is None:
        raise ShardIncompleteError(
            f"shard {shard.key} of {store.place} has no {stage} yet, has lost some, or has some that are older "
            f"than what they were made from: run {command_of(stage)} to the end"
        )
    return record


def input_digests(store: Store, shard: Shard, stages: Sequence[str]) -> dict[str, str]:
    """Name -> sha256 of the records that a stage builds upon: to be taken before what they vouch for is read.

    Raises:
        ShardIncompleteError: One of them has not been committed.
    """
    digests = {}
    for stage in stages:
        digest = file_digest(store.folder, commit_name(shard, stage))
        if digest is None:
            raise _has_none(store, shard, stage)
        digests[commit_name(shard, stage)] = digest
    return digests


_READ_AT_ONCE = 64
"""Records that are on their way from an object store at a time."""


def committed(store: Store, shard: Shard, stage: str) -> CommitRecord | None:
    """The record of a shard that needs no work, or None where the stage owes it.

    It needs none when its record is there, is of this very shard, its files have their sizes and its inputs are
    unchanged. A record that cannot be read vouches for nothing, so its shard is made again.
    """
    return _Judge(store).standing(shard, stage)


def committed_of_each(
    store: Store, shards: Iterable[Shard], stages: Sequence[str], *, num_with_outcomes: int | None = None
) -> Iterator[tuple[Shard, tuple[CommitRecord | None, ...]]]:
    """`committed` of many shards, for each of the stages: far fewer requests than one by one.

    The records of the stages after the first `num_with_outcomes` come without their outcomes.

    The sizes of files come from listings, a record is read once, and an object store is asked for many at a time.
    What the coordinator holds does not grow with the number of shards, but for the names and sizes of their files.

    Yields:
        A shard with its records, in the order of `shards` and `stages`.
    """
    judge = _Judge(store, list_files=True)

    def records(shard: Shard) -> tuple[Shard, tuple[CommitRecord | None, ...]]:
        return shard, tuple(
            judge.standing(shard, stage, with_outcomes=num_with_outcomes is None or number < num_with_outcomes)
            for number, stage in enumerate(stages)
        )

    if store.folder.is_local:
        yield from map(records, shards)
        return
    waiting = iter(shards)
    with ThreadPoolExecutor(_READ_AT_ONCE, thread_name_prefix="fda-records") as pool:
        while batch := list(islice(waiting, 4 * _READ_AT_ONCE)):
            yield from pool.map(records, batch)


def kept_record(store: Store, shard: Shard, stage: str) -> CommitRecord | None:
    """The record of rows of a shard that need not be made again though the shard is pending; None where there is none.

    Such is the record of a shard that has grown since, and the one kept aside of a shard that was being written again
    when the run was killed. The files under the latter may be those from before or from after.
    """
    folder = store.folder
    for name in (commit_name(shard, stage), withdrawn_name(shard, stage)):
        try:
            record = _read_record(folder, name)
        except StoreFormatError:
            continue
        if record is not None and _is_part(record.shard, shard) and record.stage == stage:
            return record
    return None


class _Judge:
    """Says which shards stand."""

    def __init__(self, store: Store, *, list_files: bool = False) -> None:
        self._store = store
        self._sizes: dict[str, dict[str, int]] | None = {} if list_files else None
        """Array -> name -> size of its files, where they are listed."""
        self._lock = Lock()

    def standing(self, shard: Shard, stage: str, *, with_outcomes: bool = True) -> CommitRecord | None:
        try:
            record = read_commit(self._store.folder, shard, stage, with_outcomes=with_outcomes)
        except StoreFormatError:
            return None
        if record is None or record.shard != shard or record.stage != stage:
            return None
        if any(self._num_bytes(written.name) != written.num_bytes for written in record.files):
            return None
        if any(input_digest(self._store, name) != sha256 for name, sha256 in record.inputs.items()):
            return None
        return record

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
    """The sha256 of an input of a shard as it stands, by the name that a record gives it; None where it is gone."""
    if not name.startswith("captions["):
        return file_digest(store.folder, name)
    split, start, stop = name.removeprefix("captions[").removesuffix("]").rsplit(":", 2)
    return store.catalog.captions_digest(Shard(split, 0, int(start), int(stop)))


def _is_part(part: Shard, whole: Shard) -> bool:
    """Whether one shard is the other, or its beginning before it grew."""
    return (part.split, part.index, part.start) == (whole.split, whole.index, whole.start) and part.stop <= whole.stop
