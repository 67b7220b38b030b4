"""What to remove from a store."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.errors import OptionError
from pipeline.run.fields import convert_fields


@dataclass(frozen=True, slots=True)
class RemoveOptions:
    """What to remove, by name."""

    masks: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    splits: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        convert_fields(self, masks=tuple, features=tuple, splits=tuple)
        if not (self.masks or self.features or self.splits):
            raise OptionError("say what to remove: --masks NAME, --features NAME or --split NAME")
