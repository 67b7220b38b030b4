"""What `store.verify.verification` finds, in one sentence each, and what would repair it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Self

from store.json_values import JSON
from store.schema import Shard


class Kind(StrEnum):
    """What is wrong with a file, or with the shard it belongs to."""

    MANIFEST_DAMAGED = "manifest damaged"
    CATALOG_DAMAGED = "catalogue damaged"
    """A file of it is missing or is not as it was written."""
    CATALOG_DISAGREES = "catalogue disagrees"
    """With `store.json`, or with itself."""
    GROUP_DAMAGED = "group metadata damaged"
    ARRAY_DAMAGED = "array metadata damaged"
    """Missing where data count, not as it was written, or of another array."""
    RECORD_DAMAGED = "record damaged"
    RECORD_MISPLACED = "record misplaced"
    """It is whole, and of another shard or stage."""
    RECORD_DISAGREES = "record disagrees"
    """It is whole, and does not fit the catalogue, the arrays or the values."""
    CHUNK_MISSING = "chunk missing"
    CHUNK_SIZE = "chunk of another size"
    CHUNK_DAMAGED = "chunk damaged"
    CHUNK_FOREIGN = "chunk foreign"
    """A file of an array that no record vouches for, and that readers would still read."""
    STALE = "stale"
    """Older than what it was made from."""
    FAILURES_DAMAGED = "failures table damaged"
    RUN_DAMAGED = "run record damaged"
    LINK = "link leads out"
    UNCOMMITTED = "uncommitted"
    LEFTOVER = "leftover"
    UNFINISHED = "unfinished"
    FOREIGN = "foreign file"

    @property
    def is_harmless(self) -> bool:
        """Whether nothing that counts is wrong: what killed runs leave, and what nobody of the store reads."""
        return self in _HARMLESS


_HARMLESS = (Kind.UNCOMMITTED, Kind.LEFTOVER, Kind.UNFINISHED, Kind.FOREIGN)


@dataclass(frozen=True, slots=True)
class Repair:
    """What `--repair` does about a finding: records are removed first, then other files, then files are written."""

    remove: tuple[str, ...] = ()
    write: tuple[tuple[str, bytes], ...] = ()
    """Name and content of files whose content is known."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be."""

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
    """None where `--repair` leaves it alone."""

    @property
    def is_repairable(self) -> bool:
        """Whether `--repair` does something about it."""
        return self.repair is not None

    def of(self, shard: Shard, stage: str) -> Self:
        """The same, of a shard of a stage."""
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
