"""Which shards are complete: committed, with all their data, and made from inputs that have not changed since."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from threading import Lock
from typing import TypeVar

from store.catalog import Catalog
from store.commits import CommitRecord, VideoOutcome, commit_name, file_digest, read_commit, read_record, withdrawn_name
from store.errors import ShardIncompleteError, StoreFormatError, StoreMissingError
from store.file_sizes import FileSizes
from store.places.folder import StoreFolder
from store.remedies import REBUILD
from store.schema import Shard
from store.stages import FRAMES_STAGE, command_of, has_outcomes, stage_of_record
from store.store import Store

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

_COMPARED = ("video_id", "row")
"""The fields of outcomes that are compared with the catalogue."""
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
        ShardIncompleteError: A shard has not been committed, or its record is of other videos than the catalogue has.
    """
    catalog = store.catalog

    def outcomes(shard: Shard) -> tuple[VideoOutcome, ...]:
        record = read_commit(store.folder, shard, stage)
        if record is None:
            raise _not_committed(store, shard, stage)
        why = other_videos(catalog, record)
        if why is not None:
            raise _incomplete(store, shard, stage, Pending(f"{commit_name(shard, stage)} is of other videos: {why}"))
        return record.outcomes

    return map_many(store.folder, outcomes, shards)


def require_committed(store: Store, shard: Shard, stage: str) -> CommitRecord:
    """The record of a complete shard, for a worker: that its videos are those of the catalogue, the plan has checked.

    A shard is complete when its record exists and is of this very shard, its files have the recorded sizes, and its
    inputs have not changed. A record that cannot be read counts as none, so its shard is rebuilt.

    Raises:
        ShardIncompleteError: The shard is pending.
    """
    (judged,) = _CompletionCheck(store).judge(shard, [stage])
    if isinstance(judged, Pending):
        raise _incomplete(store, shard, stage, judged)
    return judged


def require_committed_of_each(
    store: Store,
    shards: Iterable[Shard],
    stages: Sequence[str],
    *,
    with_catalog: bool = True,
    columns: Mapping[str, Sequence[str]] | None = None,
) -> Iterator[tuple[Shard, tuple[CommitRecord, ...]]]:
    """`committed_of_each`, for a reader that needs every shard complete.

    Args:
        store: The store.
        shards: Which rows.
        stages: In the order in which they build on each other.
        with_catalog: Whether to compare the videos of the records with the catalogue. A worker leaves it out: it need
            not load the catalogue, as the plan has compared them.
        columns: Stage -> which fields of the outcomes to read as `CommitRecord.table`; those by which videos are
            compared with the catalogue are read as well. None: the outcomes are read, and all of them.

    Raises:
        ShardIncompleteError: A shard is pending; the message says why.
    """
    check = _CompletionCheck(store, store.catalog if with_catalog else None, list_files=True, columns=columns)

    def required(shard: Shard) -> tuple[Shard, tuple[CommitRecord, ...]]:
        records = []
        for stage, judged in zip(stages, check.judge(shard, stages), strict=True):
            if isinstance(judged, Pending):
                raise _incomplete(store, shard, stage, judged)
            records.append(judged)
        return shard, tuple(records)

    return map_many(store.folder, required, shards)


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


@dataclass(frozen=True, slots=True)
class Pending:
    """Why a shard is pending."""

    why: str
    """One clause, for messages. It names the file."""
    is_missing: bool = False
    """Whether it has no record."""
    has_grown: bool = False
    """Whether its record is of the rows that it had before the split grew."""
    is_damage: bool = False
    """Whether its record is damaged, or of other videos than the catalogue has."""


def judged_of_each(
    store: Store, shards: Iterable[Shard], stages: Sequence[str], *, num_with_outcomes: int | None = None
) -> Iterator[tuple[Shard, tuple[CommitRecord | Pending, ...]]]:
    """The records of many shards, one a stage, or why they are pending: far fewer requests than one by one.

    The sizes of files come from listings, a record is read once, and an object store is asked for many at a time.
    Memory does not grow with the number of shards, except for the names and sizes of their files.

    Args:
        store: The store.
        shards: Which rows.
        stages: In the order in which they build on each other.
        num_with_outcomes: So many of the first stages have their outcomes read; all, if None. The records of the others
            come with none, which takes a fifth of the time. Outcomes that are read are compared with the catalogue: a
            record of other videos than it has in these rows counts as none, so that no clip gets another id.

    Yields:
        A shard with its records, or why it is pending, in the order of `shards` and `stages`.
    """
    is_compared = num_with_outcomes != 0 and any(map(has_outcomes, stages[:num_with_outcomes]))
    check = _CompletionCheck(store, store.catalog if is_compared else None, list_files=True)
    return map_many(
        store.folder, lambda shard: (shard, check.judge(shard, stages, num_with_outcomes=num_with_outcomes)), shards
    )


def committed_of_each(
    store: Store, shards: Iterable[Shard], stages: Sequence[str], *, num_with_outcomes: int | None = None
) -> Iterator[tuple[Shard, tuple[CommitRecord | None, ...]]]:
    """`judged_of_each`, with None for each stage in which a shard is pending."""
    for shard, judged in judged_of_each(store, shards, stages, num_with_outcomes=num_with_outcomes):
        yield shard, tuple(None if isinstance(one, Pending) else one for one in judged)


def other_videos(catalog: Catalog, record: CommitRecord) -> str | None:
    """Where the videos of a record are not those that the catalogue has in its rows; None if they are."""
    if not has_outcomes(record.stage):
        return None
    shard = record.shard
    ids = catalog.video_ids(shard.split, shard.start, shard.stop)
    if record.rows != list(range(shard.start, shard.start + len(ids))):
        return f"its rows are not the {len(ids)} from {shard.start}, which the catalogue has"
    for row, (its, video_id) in enumerate(zip(record.video_ids, ids, strict=True), shard.start):
        if its != video_id:
            return f"its row {row} is of video {its!r}, and the catalogue has {video_id!r} there"
    return None


def kept_record(store: Store, shard: Shard, stage: str) -> CommitRecord | None:
    """The record of those rows of a pending shard that need not be rebuilt, or None if there is none.

    That is the record of a shard that has grown since, or the one kept aside of a shard that was being rewritten when
    the run was killed. The files under the latter may be those from before or from after.
    """
    folder = store.folder
    # The record itself first: a kill while it was kept aside leaves both, and nothing rewritten yet.
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

    def __init__(
        self,
        store: Store,
        catalog: Catalog | None = None,
        *,
        list_files: bool = False,
        columns: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self._store = store
        self._columns = {stage: (*_COMPARED, *others) for stage, others in (columns or {}).items()}
        """What is read as a table."""
        self._catalog = catalog
        """What the videos of records are compared with; None: they are not."""
        self._sizes: dict[str, FileSizes] | None = {} if list_files else None
        """Array -> sizes of its files, if `list_files`."""
        self._lock = Lock()

    def judge(
        self, shard: Shard, stages: Sequence[str], *, num_with_outcomes: int | None = None
    ) -> tuple[CommitRecord | Pending, ...]:
        """The records of a shard in each stage, or why it is pending."""
        contents: dict[str, bytes] = {}
        return tuple(
            self._judge(shard, stage, contents, num_with_outcomes is None or number < num_with_outcomes)
            for number, stage in enumerate(stages)
        )

    def _judge(
        self, shard: Shard, stage: str, contents: dict[str, bytes], with_outcomes: bool
    ) -> CommitRecord | Pending:
        """The record of one stage; what was read of the shard so far is in `contents`, and this record is added."""
        name = commit_name(shard, stage)
        try:
            contents[name] = self._store.folder.read(name)
            # None: all fields, as outcomes. Names: these as a table. Empty: nothing of the outcomes is read.
            columns = self._columns.get(stage) if with_outcomes and has_outcomes(stage) else ()
            record = CommitRecord.from_bytes(contents[name], name, columns, as_table=columns is not None)
        except StoreMissingError:
            return Pending(f"there is no {name}", is_missing=True)
        except StoreFormatError as error:
            return Pending(without_remedy(error), is_damage=True)
        if record.shard != shard or record.stage != stage:
            its_rows = f"{name} is of rows {record.shard.start} to {record.shard.stop - 1} of {record.stage}"
            return Pending(its_rows, has_grown=record.stage == stage and _is_part(record.shard, shard))
        if with_outcomes and self._catalog is not None:
            why = other_videos(self._catalog, record)
            if why is not None:
                return Pending(f"{name} is of other videos: {why}", is_damage=True)
        for written in record.files:
            num_bytes = self._num_bytes(written.name)
            if num_bytes != written.num_bytes:
                found = "is missing" if num_bytes is None else f"has {num_bytes:,} bytes, not {written.num_bytes:,}"
                return Pending(f"{written.name} {found}")
        for its, sha256 in record.inputs.items():
            if self._input_digest(its, contents) != sha256:
                return Pending(self._why_stale(name, its))
        return record

    def _why_stale(self, name: str, its: str) -> str:
        """What became of an input that is not the one that a record names."""
        stage = stage_of_record(its)
        try:
            if stage is not None and read_record(self._store.folder, its, with_outcomes=False) is None:
                return f"{its} is missing, which {command_of(stage)} makes"
        except StoreFormatError as error:
            return f"{without_remedy(error)}, which {command_of(stage or '')} rebuilds"
        return f"{its} has changed since {name} was made"

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
            # Listed under the lock: threads that need the same array wait for one listing.
            if array not in self._sizes:
                self._sizes[array] = FileSizes.of(self._store.folder.walk(array))
            size = self._sizes[array].get(name)
        # A record lists the file, so it should be there: what is no file is in no listing, and asking for it says so.
        return self._store.folder.num_bytes(name) if size is None else size


def input_digest(store: Store, name: str) -> str | None:
    """The sha256 of an input of a shard as it is now, by the name that a record gives it; None if it is missing."""
    if not name.startswith("captions["):
        return file_digest(store.folder, name)
    split, start, stop = name.removeprefix("captions[").removesuffix("]").rsplit(":", 2)
    if split not in store.manifest.splits:
        return None
    # Any number of the shard will do: the digest is of its rows.
    return store.catalog.captions_digest(Shard(split, 0, int(start), int(stop)))


def without_remedy(error: StoreFormatError) -> str:
    """What is wrong with a record, as a part of a longer sentence."""
    return str(error).removesuffix(f": {REBUILD}")


def _incomplete(store: Store, shard: Shard, stage: str, pending: Pending) -> ShardIncompleteError:
    if pending.is_missing:
        return _not_committed(store, shard, stage)
    place, command = store.place, command_of(stage)
    return ShardIncompleteError(
        f"shard {shard.key} of {place} has {stage} that cannot be used, as {pending.why}: run {command} to the end"
    )


def _not_committed(store: Store, shard: Shard, stage: str) -> ShardIncompleteError:
    return ShardIncompleteError(
        f"shard {shard.key} of {store.place} has no {stage} yet: run {command_of(stage)} to the end"
    )


def _is_part(part: Shard, whole: Shard) -> bool:
    """Whether one shard is the other, or its beginning before it grew."""
    return (part.split, part.index, part.start) == (whole.split, whole.index, whole.start) and part.stop <= whole.stop
