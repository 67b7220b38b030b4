"""The findings of `store.verify.verification`: what is wrong, and what repairs it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Self

from store.json_values import JSON
from store.schema import Shard

CHANGED = "it was changed since it was written: its checksum is wrong"
MISSING = "it is missing"
"""What is wrong with files of several kinds."""
BY_HAND = "remove it by hand if you do not need it"
"""The remedy for files that are not of the store."""


class Kind(StrEnum):
    """What is wrong with a file, or with its shard."""

    MANIFEST_DAMAGED = "manifest damaged"
    CATALOG_DAMAGED = "catalogue damaged"
    """A file of it is missing, or was changed since it was written."""
    CATALOG_DISAGREES = "catalogue disagrees"
    """With `store.json`."""
    GROUP_DAMAGED = "group metadata damaged"
    ARRAY_DAMAGED = "array metadata damaged"
    """Missing although data exist, changed since it was written, or of another array."""
    RECORD_DAMAGED = "record damaged"
    RECORD_MISPLACED = "record misplaced"
    """It is intact, and of another shard or stage."""
    RECORD_DISAGREES = "record disagrees"
    """It is intact, and does not fit the catalogue or the arrays."""
    CHUNK_MISSING = "chunk missing"
    CHUNK_SIZE = "chunk of another size"
    CHUNK_DAMAGED = "chunk damaged"
    CHUNK_FOREIGN = "chunk foreign"
    """A file of an array that is in no record, and that readers would still read."""
    STALE = "stale"
    """Out of date: what it was made from has changed."""
    FAILURES_DAMAGED = "failures table damaged"
    RUN_DAMAGED = "run record damaged"
    LINK = "link"
    """Links are not followed."""
    ODD = "not what it should be"
    """A folder where a file should be, a FIFO, what may not be read. `--repair` leaves it: nobody vouches for it."""
    UNCOMMITTED = "uncommitted"
    LEFTOVER = "leftover"
    UNFINISHED = "unfinished"
    FOREIGN = "foreign file"

    @property
    def is_harmless(self) -> bool:
        """Whether it affects no reader: leftovers of killed runs, and files that are not of the store."""
        return self in _HARMLESS


_HARMLESS = (Kind.UNCOMMITTED, Kind.LEFTOVER, Kind.UNFINISHED, Kind.FOREIGN)


@dataclass(frozen=True, slots=True)
class Repair:
    """What `--repair` does: it removes records first, then other files, and then writes files."""

    remove: tuple[str, ...] = ()
    write: tuple[tuple[str, bytes], ...] = ()
    """Name and content of files that can be restored."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong."""

    kind: Kind
    name: str
    """The file, relative to the store."""
    what: str
    """One sentence."""
    remedy: str
    """One sentence."""
    split: str | None = None
    shard: int | None = None
    """Its number in the split."""
    stage: str | None = None
    repair: Repair | None = field(default=None, repr=False)
    """None if `--repair` does nothing about it."""

    @property
    def is_repairable(self) -> bool:
        """Whether `--repair` does something about it."""
        return self.repair is not None

    def of(self, shard: Shard, stage: str) -> Self:
        """The same finding, with the shard and the stage."""
        return replace(self, split=shard.split, shard=shard.index, stage=stage)

    def to_dict(self) -> dict[str, JSON]:
        """The fields as JSON."""
        return {
            "kind": str(self.kind),
            "name": self.name,
            "split": self.split,
            "shard": self.shard,
            "stage": self.stage,
            "what": self.what,
            "remedy": self.remedy,
            "harmless": self.kind.is_harmless,
            "repairable": self.is_repairable,
        }
