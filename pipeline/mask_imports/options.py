"""Which masks become a mask set."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from pipeline.run.fields import convert_fields
from store.json_values import JSON


class Missing(StrEnum):
    """What to do about a video of which there are no masks."""

    REFUSE = "refuse"
    EMPTY = "empty"
    """Its masks are empty: nothing moves. Its outcome says so."""


@dataclass(frozen=True, slots=True)
class MaskImportOptions:
    """How masks are read."""

    soft: bool = False
    """Whether they say how likely each pixel moves, 0..255, instead of whether it does."""
    missing: Missing = Missing.REFUSE

    def __post_init__(self) -> None:
        convert_fields(self, missing=Missing)

    def identity(self) -> dict[str, JSON]:
        """What two runs must agree on to share one mask set. The files themselves are in the commit records."""
        return {"imported": True, "soft": self.soft, "missing": str(self.missing)}
