"""Commit records: a shard of a stage counts once its record exists, and the record is written last.

A record is a Parquet file with one row a video: status, reason and more, to be read with any tool. Its metadata list
every file of the shard with size and checksum, and the sha256 of every input that the shard was computed from.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import compress
from typing import Any, Self

import pyarrow as pa

from store.errors import StoreFormatError, StoreMissingError
from store.formats.columns import table_of
from store.formats.parquet import parquet_bytes, read_metadata, read_small_table
from store.formats.seal import check_sealed
from store.own_files import own_files
from store.places.folder import StoreFolder, WrittenFile
from store.remedies import REBUILD
from store.schema import Shard, VideoStatus
from store.store import Store

WITHDRAWN_FOLDER = "withdrawn"
"""Records of shards that are being rewritten, or in which a video is pending. The next run reuses the clips that are
still valid."""

METADATA_KEY = "fda.commit"
_PART = "[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}"
_FILE = re.compile(rf"(?:clips|features)\.zarr(?:/{_PART}){{1,6}}")
_INPUT = re.compile(rf"commits(?:/{_PART}){{1,6}}|captions\[{_PART}(?::[0-9]{{1,15}}){{2}}\]")
"""What `ArraySpec.shard_name`, `commit_name` and `captions_input` give."""
_SCHEMA = pa.schema(
    [
        ("video_id", pa.string()),
        ("row", pa.int64()),
        ("status", pa.string()),
        ("filled", pa.bool_()),
        ("reason", pa.string()),
        ("duration_seconds", pa.float64()),
        ("fps", pa.float64()),
        ("codec", pa.string()),
        ("source_bytes", pa.int64()),
        ("source_sha256", pa.string()),
        ("checksum", pa.string()),
        ("num_masks", pa.int64()),
        ("mask_coverage", pa.float64()),
        ("mask_components", pa.float64()),
        ("num_empty_masks", pa.int64()),
        ("num_full_masks", pa.int64()),
        ("camera_motion", pa.bool_()),
        ("num_unregistered_pairs", pa.int64()),
        ("mask_difference", pa.string()),
    ]
)
OUTCOME_FIELDS = ("video_id", "row", "status", "filled")
"""Those without which there is no `VideoOutcome`: the others have a default."""
_OPTIONAL = ("mask_difference",)
"""The last columns: a record has them only if an outcome has a value, as records that are older than they are."""


@dataclass(frozen=True, slots=True)
class VideoOutcome:
    """How one video ended in one stage. It contains no clock time: the same input gives the same row."""

    video_id: str
    row: int
    status: VideoStatus
    filled: bool
    """Whether its slot in the arrays has data. An unfilled slot is never read as a video."""
    reason: str | None = None
    """One line: why there is no clip, or a remark on it. None for most clips."""
    duration_seconds: float | None = None
    fps: float | None = None
    codec: str | None = None
    source_bytes: int | None = None
    """Size of the video's file. This and the next are given if it could be read to its end."""
    source_sha256: str | None = None
    """Of the video's file, as it was when it was decoded."""
    checksum: str | None = None
    """sha256 of the video's slot in the stage's main array, C order."""
    num_masks: int | None = None
    """Number of frames of the clip. This and all below are given for mask sets only, before the rules for empty and
    full masks are applied."""
    mask_coverage: float | None = None
    """Mean share of the picture that a mask covers, 0..1."""
    mask_components: float | None = None
    """Mean number of connected components of a mask."""
    num_empty_masks: int | None = None
    num_full_masks: int | None = None
    camera_motion: bool | None = None
    """Whether the camera moved; None if that could not be measured."""
    num_unregistered_pairs: int | None = None
    """Pairs of pictures whose camera motion was to be compensated and could not be estimated."""
    mask_difference: str | None = None
    """The kind of difference that was picked for this clip; None where nothing was to be picked."""


@dataclass(frozen=True, slots=True)
class CommitRecord:
    """What a stage made of one shard."""

    shard: Shard
    stage: str
    outcomes: tuple[VideoOutcome, ...]
    """One for each video, in row order. A stage over captions has none."""
    files: tuple[WrittenFile, ...]
    """Every file of the shard."""
    inputs: Mapping[str, str] = field(default_factory=dict)
    """Name -> sha256 of what the shard was computed from: files of the store, or `captions_input`."""
    sha256: str | None = field(default=None, compare=False)
    """Of the file that it was read from; None if it was not read."""
    table: pa.Table | None = field(default=None, compare=False)
    """The outcomes as a table, in place of `outcomes`, if that was asked for."""

    @property
    def rows(self) -> list[int]:
        """The row of each outcome."""
        return self._values("row")

    @property
    def video_ids(self) -> list[str]:
        """The video of each outcome."""
        return self._values("video_id")

    def _values(self, name: str) -> list[Any]:
        if self.table is not None:
            values: list[Any] = self.table[name].to_pylist()
            return values
        return [getattr(outcome, name) for outcome in self.outcomes]

    def to_bytes(self) -> bytes:
        """The record as a Parquet file."""
        columns = {name: [getattr(outcome, name) for outcome in self.outcomes] for name in _SCHEMA.names}
        left_out = [name for name in _OPTIONAL if all(value is None for value in columns[name])]
        schema = pa.schema([column for column in _SCHEMA if column.name not in left_out])
        table = table_of(columns, schema)
        metadata = {
            "shard": asdict(self.shard),
            "stage": self.stage,
            "files": [written.to_dict() for written in self.files],
            "inputs": dict(sorted(self.inputs.items())),
        }
        return parquet_bytes(table, {METADATA_KEY: json.dumps(metadata)}, is_small=True)

    @classmethod
    def from_bytes(
        cls, content: bytes, name: str, columns: Sequence[str] | None = None, *, as_table: bool = False
    ) -> Self:
        """Read a record.

        Args:
            content: The file.
            name: For the errors.
            columns: Which fields of the outcomes to read, including those without a default; all, if None. With an
                empty sequence no outcomes are read, which takes a fifth of the time.
            as_table: Whether to give them as a table, in any columns, which takes half of the time.

        Raises:
            StoreFormatError: It is not a commit record, or it is damaged.
        """
        # First: of a damaged footer, Arrow may crash, and take the process with it.
        check_sealed(content, name, REBUILD)
        try:
            if columns is None or columns:
                table = read_small_table(content, name, _SCHEMA, columns, optional=_OPTIONAL)
                outcomes, about = () if as_table else _outcomes(table), table.schema.metadata
            else:
                table, outcomes, about = None, (), read_metadata(content, name)
            metadata = json.loads(about[METADATA_KEY.encode()])
            files = tuple(WrittenFile.from_dict(fields) for fields in metadata["files"])
            inputs = dict(metadata["inputs"])
            _check_names((written.name for written in files), inputs)
            place, stage = metadata["shard"], metadata["stage"]
            if not all(type(text) is str for text in (place["split"], stage)):
                raise ValueError(f"it is of {place!r:.200} and {stage!r:.100}")
            shard = Shard(**place)
            numbers = (shard.index, shard.start, shard.stop)
            # Rows are integers of 64 bits in all tables and arrays.
            if not all(type(number) is int and 0 <= number < 2**63 for number in numbers):
                raise ValueError(f"its rows are {shard!r:.200}")
            digest = hashlib.sha256(content).hexdigest()
            return cls(shard, stage, outcomes, files, inputs, digest, table if as_table else None)
        except (StoreFormatError, KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
            raise StoreFormatError(f"{name} is not a commit record ({error}): {REBUILD}") from error


def _check_names(files: Iterable[str], inputs: Iterable[str]) -> None:
    """Refuse names that are not of this store: they are looked up on the disk, which has devices that never end.

    Raises:
        ValueError: One is.
    """
    for kind, pattern, names in (("file", _FILE, files), ("input", _INPUT, inputs)):
        for name in names:
            if not pattern.fullmatch(name):
                raise ValueError(f"it names {name!r:.200} as {kind}, which is not of a store")


def _outcomes(table: pa.Table) -> tuple[VideoOutcome, ...]:
    """One a row, with the fields that the table has."""
    columns = [column.to_pylist() for column in table.columns]
    names = table.schema.names
    columns[names.index("status")] = [VideoStatus(status) for status in columns[names.index("status")]]
    return tuple(VideoOutcome(**dict(zip(names, row, strict=True))) for row in zip(*columns, strict=True))


def commit_name(shard: Shard, stage: str) -> str:
    """The name of the record of a shard of a stage.

    >>> commit_name(Shard("test", 3, 48, 64), "frames")
    'commits/test/frames/00003.parquet'
    """
    return f"commits/{shard.split}/{stage}/{shard.index:05d}.parquet"


def withdrawn_name(shard: Shard, stage: str) -> str:
    """The name of the record of a shard while the shard is rewritten.

    >>> withdrawn_name(Shard("test", 3, 48, 64), "frames")
    'withdrawn/test/frames/00003.parquet'
    """
    return commit_name(shard, stage).replace("commits", WITHDRAWN_FOLDER, 1)


def withdraw_commit(folder: StoreFolder, shard: Shard, stage: str, *, keep: bool = False) -> bool:
    """Remove the record of a shard, if it has one. Do this before its first file is rewritten.

    Otherwise a run that is killed half-way would leave new files of the same size under the record of the old ones.

    Args:
        folder: The store.
        shard: Which rows.
        stage: What was made of them.
        keep: Whether the record is kept aside, for the rows that are rewritten unchanged.

    Returns:
        Whether there was one.
    """
    name = commit_name(shard, stage)
    if folder.num_bytes(name) is None:
        return False
    if keep:  # the copy first: a run that is killed in between leaves both, and then the record itself is used
        folder.write(withdrawn_name(shard, stage), folder.read(name))
    folder.remove(name)
    return True


@dataclass(frozen=True, slots=True)
class ShardDraft:
    """A shard of a stage with its record, before anything of it is written."""

    record: CommitRecord
    record_content: bytes
    contents: Mapping[str, bytes | None]
    """Name -> content of every file of the shard; None for one that Zarr does not store."""
    keeps_record: bool = False
    """Whether a record that stands is kept aside until the shard is written, for the rows that are the same in both."""

    @property
    def is_pending(self) -> bool:
        """Whether a video of it is `PENDING`: then the record is kept aside, where the next run finds the others."""
        return any(outcome.status is VideoStatus.PENDING for outcome in self.record.outcomes)

    @property
    def record_name(self) -> str:
        """Where its record goes."""
        return (withdrawn_name if self.is_pending else commit_name)(self.record.shard, self.record.stage)

    @property
    def as_input(self) -> dict[str, str]:
        """`CommitRecord.inputs` of what is computed from it."""
        return {commit_name(self.record.shard, self.record.stage): str(self.record.sha256)}


def draft_shard(
    shard: Shard,
    stage: str,
    outcomes: Sequence[VideoOutcome],
    contents: Mapping[str, bytes | None],
    inputs: Mapping[str, str],
    *,
    keeps_record: bool = False,
) -> ShardDraft:
    """A shard of a stage as it is to be written.

    Args:
        shard: Which rows.
        stage: What was made of them.
        outcomes: One for each video, in row order; none for captions.
        contents: Name -> what `shard_content` returned, for each file of the shard.
        inputs: Name -> sha256 of what the shard was computed from, as it was before it was read.
        keeps_record: See `ShardDraft`.

    Raises:
        ValueError: The outcomes are not one for each row, in order.
    """
    # `fda verify` compares a record with the catalogue. That it agrees with itself is checked here, before it counts.
    if outcomes and [outcome.row for outcome in outcomes] != list(range(shard.start, shard.stop)):
        raise ValueError(f"shard {shard.key} of {stage}: outcomes are for rows {[outcome.row for outcome in outcomes]}")
    files = tuple(WrittenFile.of(name, content) for name, content in contents.items() if content is not None)
    record = CommitRecord(shard, stage, tuple(outcomes), files, inputs)
    content = record.to_bytes()
    return ShardDraft(replace(record, sha256=hashlib.sha256(content).hexdigest()), content, contents, keeps_record)


def commit_shards(folder: StoreFolder, drafts: Sequence[ShardDraft]) -> None:
    """Write stages of one shard: all their files, and then their records, from when on they count.

    Together, because a disk takes hardly longer for the files of two stages than for those of one.

    Args:
        folder: The store.
        drafts: In the order in which the stages build on each other.

    Raises:
        StoreWriteError: The disk is full, read-only or failing. What was committed before is pending again.
    """
    # Withdrawn before the first file is written: a run that is killed in between must not leave new files under the old
    # record. One may be kept aside, as clips that are not rebuilt need not be decoded again after such a kill.
    was_committed = [
        withdraw_commit(folder, draft.record.shard, draft.record.stage, keep=draft.keeps_record) for draft in drafts
    ]
    contents = {name: content for draft in drafts for name, content in draft.contents.items()}
    # A file of nothing but the fill value does not exist in Zarr; one from before would still be read.
    for name in [name for name, content in contents.items() if content is None]:
        folder.remove(name)
    files = {name: content for name, content in contents.items() if content is not None}
    # A record that a power cut leaves without the one of the stage before counts as out of date.
    folder.write_in_order([files, {draft.record_name: draft.record_content for draft in drafts}])
    folder.remove_files(  # which leaves no empty folder
        [
            withdrawn_name(draft.record.shard, draft.record.stage)
            for draft, was in zip(drafts, was_committed, strict=True)
            if was and draft.keeps_record and not draft.is_pending
        ]
    )


def read_commit(folder: StoreFolder, shard: Shard, stage: str, *, with_outcomes: bool = True) -> CommitRecord | None:
    """Read the record of a shard, or None if there is none.

    Raises:
        StoreFormatError: It is damaged.
    """
    return read_record(folder, commit_name(shard, stage), with_outcomes=with_outcomes)


def file_digest(folder: StoreFolder, name: str) -> str | None:
    """The sha256 of a small file of the store as it is now, or None if there is none."""
    try:
        return hashlib.sha256(folder.read(name)).hexdigest()
    except StoreMissingError:
        return None


def remove_withdrawn(store: Store) -> None:
    """Remove the records kept aside of shards that have been committed again."""
    kept = [own.name for own in own_files(store.folder, WITHDRAWN_FOLDER)]
    is_committed = [store.folder.num_bytes(name.replace(WITHDRAWN_FOLDER, "commits", 1)) is not None for name in kept]
    store.folder.remove_files(list(compress(kept, is_committed)))


def read_record(folder: StoreFolder, name: str, *, with_outcomes: bool = True) -> CommitRecord | None:
    """Read the record of a name, or None if there is none; errors are those of `read_commit`."""
    try:
        content = folder.read(name)
    except StoreMissingError:
        return None
    return CommitRecord.from_bytes(content, name, None if with_outcomes else ())
