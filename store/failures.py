"""The table of failed videos, collected from the commit records once every shard is complete."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import pyarrow as pa

from store.commits import VideoOutcome
from store.errors import StoreFormatError
from store.formats.columns import table_of
from store.formats.parquet import parquet_bytes
from store.formats.seal import check_sealed
from store.formats.table_file import read_table
from store.places.folder import StoreFolder
from store.remedies import REBUILD_FAILURES
from store.schema import VideoStatus

FAILURES_NAME = "catalog/failures.parquet"

_SCHEMA = pa.schema(
    [
        ("split", pa.string()),
        ("row", pa.int64()),
        ("video_id", pa.string()),
        ("status", pa.string()),
        ("reason", pa.string()),
        ("source_bytes", pa.int64()),
    ]
)


@dataclass(frozen=True, slots=True)
class FailedVideo:
    """A video without a clip: it failed, or the machine stopped its decoding and it is pending."""

    split: str
    row: int
    video_id: str
    status: VideoStatus
    reason: str | None
    """One line."""
    source_bytes: int | None
    """Size of its file; None if no file could be read."""

    @classmethod
    def of(cls, split: str, outcome: VideoOutcome) -> Self:
        """A row of a commit record."""
        return cls(split, outcome.row, outcome.video_id, outcome.status, outcome.reason, outcome.source_bytes)


def failures_bytes(failures: Iterable[FailedVideo], splits: Iterable[str]) -> bytes:
    """The table as a Parquet file, in the order of the splits and rows."""
    order = {split: number for number, split in enumerate(splits)}
    rows = sorted(failures, key=lambda failed: (order[failed.split], failed.row))
    return parquet_bytes(table_of({name: [getattr(row, name) for row in rows] for name in _SCHEMA.names}, _SCHEMA))


def write_failures(folder: StoreFolder, failures: Iterable[FailedVideo], splits: Iterable[str]) -> None:
    """Write the table, unless it is unchanged."""
    content = failures_bytes(failures, splits)
    if folder.num_bytes(FAILURES_NAME) is None or folder.read(FAILURES_NAME) != content:
        folder.write(FAILURES_NAME, content)


def read_failures(folder: StoreFolder) -> tuple[FailedVideo, ...]:
    """Read the table.

    Raises:
        StoreMissingError: No run of `fda preprocess` or `fda finalise` has ended yet.
        StoreFormatError: It is damaged.
    """
    rows = failures_table(folder).to_pylist()
    try:
        return tuple(FailedVideo(**{**fields, "status": VideoStatus(fields["status"])}) for fields in rows)
    except ValueError as error:
        raise StoreFormatError(f"{folder.place}/{FAILURES_NAME}: {error}: {REBUILD_FAILURES}") from error


def failures_table(folder: StoreFolder) -> pa.Table:
    """The table as Arrow: columns split, row, video_id, status, reason, source_bytes.

    Raises:
        StoreMissingError: No run of `fda preprocess` or `fda finalise` has ended yet.
        StoreFormatError: It is damaged.
    """
    content, path = folder.read(FAILURES_NAME), f"{folder.place}/{FAILURES_NAME}"
    check_sealed(content, path, REBUILD_FAILURES)
    return read_table(content, path, _SCHEMA)
