"""Commit records: a shard of a stage counts when its record exists, and the record is written last.

A record is a Parquet file with one row a video, so that anyone can read how each ended. Its metadata name every file
that the shard consists of, with size and sha256, and every file that it was computed from.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Self

import pyarrow as pa
import pyarrow.parquet as pq

from store.catalog import parquet_bytes
from store.errors import StoreFormatError
from store.files import StoreFolder, WrittenFile
from store.schema import Shard, VideoStatus

_METADATA_KEY = b"fda.commit"
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
        ("checksum", pa.string()),
        ("num_masks", pa.int64()),
        ("mask_coverage", pa.float64()),
        ("mask_components", pa.float64()),
        ("num_empty_masks", pa.int64()),
        ("num_full_masks", pa.int64()),
        ("camera_motion", pa.bool_()),
        ("num_unregistered_pairs", pa.int64()),
    ]
)


@dataclass(frozen=True, slots=True)
class VideoOutcome:
    """How one video fared in one stage. Holds no clock time: the same input gives the same row."""

    video_id: str
    row: int
    status: VideoStatus
    filled: bool
    """Whether its slot in the arrays holds data. An unfilled slot is never read as a video."""
    reason: str | None = None
    """One line, where the status is not `ok`."""
    duration_seconds: float | None = None
    fps: float | None = None
    codec: str | None = None
    checksum: str | None = None
    """sha256 of the video's slot in the stage's main array, C order."""
    num_masks: int | None = None
    """Of the frames that the clip has. This and all below are given for mask sets alone, before their rules for empty
    and full masks."""
    mask_coverage: float | None = None
    """Mean share of the picture that a mask covers, 0..1."""
    mask_components: float | None = None
    """Mean number of connected components of a mask."""
    num_empty_masks: int | None = None
    num_full_masks: int | None = None
    camera_motion: bool | None = None
    """Whether the camera moved; None where that cannot be told."""
    num_unregistered_pairs: int | None = None
    """Pairs of pictures whose camera motion was to be taken out and could not be found."""


@dataclass(frozen=True, slots=True)
class CommitRecord:
    """What a stage made of one shard."""

    shard: Shard
    stage: str
    outcomes: tuple[VideoOutcome, ...]
    """One a video, in row order. A stage over captions has none."""
    files: tuple[WrittenFile, ...]
    """Every file of the shard."""
    inputs: Mapping[str, str] = field(default_factory=dict)
    """Name -> sha256 of each file of the store that the shard was computed from."""

    def as_input(self) -> dict[str, str]:
        """Name -> sha256 of the record as it is stored: what a stage that builds upon it keeps as its input."""
        return {commit_name(self.shard, self.stage): hashlib.sha256(self.to_bytes()).hexdigest()}

    def to_bytes(self) -> bytes:
        """The record as a Parquet file."""
        table = pa.Table.from_pylist([asdict(outcome) for outcome in self.outcomes], schema=_SCHEMA)
        metadata = {
            "shard": asdict(self.shard),
            "stage": self.stage,
            "files": [written.to_dict() for written in self.files],
            "inputs": dict(sorted(self.inputs.items())),
        }
        return parquet_bytes(table.replace_schema_metadata({_METADATA_KEY: json.dumps(metadata).encode()}))

    @classmethod
    def from_bytes(cls, content: bytes, name: str) -> Self:
        """Read a record; `name` is for the error.

        Raises:
            StoreFormatError: These are not the bytes of a commit record.
        """
        try:
            table = pq.read_table(io.BytesIO(content))
            metadata = json.loads((table.schema.metadata or {})[_METADATA_KEY])
        except (pa.ArrowInvalid, KeyError, json.JSONDecodeError) as error:
            raise StoreFormatError(f"{name} is damaged: {error}. Remove it, and the next run makes it anew") from error
        outcomes = tuple(
            VideoOutcome(**{**fields, "status": VideoStatus(fields["status"])}) for fields in table.to_pylist()
        )
        files = tuple(WrittenFile.from_dict(fields) for fields in metadata["files"])
        return cls(Shard(**metadata["shard"]), metadata["stage"], outcomes, files, metadata["inputs"])


def commit_name(shard: Shard, stage: str) -> str:
    """Where the record of a shard of a stage lies.

    >>> commit_name(Shard("test", 3, 48, 64), "frames")
    'commits/test/frames/00003.parquet'
    """
    return f"commits/{shard.split}/{stage}/{shard.index:05d}.parquet"


def withdraw_commit(folder: StoreFolder, shard: Shard, stage: str) -> None:
    """Remove the record of a shard, if it has one: to be done before the first of its files is written again.

    Else a run that is killed half-way would leave new files of the same size under the old record, which vouches for
    others.
    """
    folder.remove(commit_name(shard, stage))


def commit_shard(
    folder: StoreFolder,
    shard: Shard,
    stage: str,
    outcomes: Sequence[VideoOutcome],
    files: Sequence[WrittenFile | None],
    inputs: Mapping[str, str],
) -> CommitRecord:
    """Write the record of a shard, whose files must all stand: this is the moment at which they count.

    Args:
        folder: The store.
        shard: Which rows.
        stage: What was made of them.
        outcomes: One a video, in row order.
        files: What `write_shard` returned; None, for a file that Zarr leaves out, is passed over.
        inputs: Name -> sha256 of each file of the store that the shard was computed from, as it stood before it was
            read.
    """
    written = tuple(file for file in files if file is not None)
    record = CommitRecord(shard, stage, tuple(outcomes), written, inputs)
    folder.write(commit_name(shard, stage), record.to_bytes())
    return record


def read_commit(folder: StoreFolder, shard: Shard, stage: str) -> CommitRecord | None:
    """Read the record of a shard, or None where there is none."""
    name = commit_name(shard, stage)
    if folder.num_bytes(name) is None:
        return None
    return CommitRecord.from_bytes(folder.read(name), name)


def file_digest(folder: StoreFolder, name: str) -> str | None:
    """The sha256 of a small file of the store as it stands, or None where there is none."""
    if folder.num_bytes(name) is None:
        return None
    return hashlib.sha256(folder.read(name)).hexdigest()


def committed(folder: StoreFolder, shard: Shard, stage: str) -> CommitRecord | None:
    """The record of a shard that needs no work, or None where the stage owes it.

    It needs none when its record is there, its files have their sizes and its inputs are unchanged. A record that
    cannot be read vouches for nothing, so its shard is made again.
    """
    try:
        record = read_commit(folder, shard, stage)
    except StoreFormatError:
        return None
    if record is None:
        return None
    files_stand = all(folder.num_bytes(written.name) == written.num_bytes for written in record.files)
    inputs_stand = all(file_digest(folder, name) == sha256 for name, sha256 in record.inputs.items())
    return record if files_stand and inputs_stand else None
