"""What users choose of clips. This module loads nothing else, so that commands can list the choices at once."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class AlphaSource(StrEnum):
    """Where the alpha channel of a clip comes from."""

    MASKS = "masks"
    """Its own masks."""
    ONES = "ones"
    """All ones: Alpha-CLIP's neutral input, the whole image."""
    ZEROS = "zeros"
    SHUFFLED = "shuffled"
    """The masks of another clip of the split, again from its first where it has fewer frames: how much is due to the
    motion of this very clip?"""
    RANDOM_AREA = "random-area"
    """A rectangle of the area of its own mask, in a place drawn at random: how much is due to where the motion is?"""

    @property
    def is_drawn(self) -> bool:
        """Whether a seed decides what it is."""
        return self in (AlphaSource.SHUFFLED, AlphaSource.RANDOM_AREA)


@dataclass(frozen=True, slots=True)
class ClipSize:
    """What clips, which are stored as squares, are resized to: `pipeline.clips.resizing.resized` does it."""

    side: int
    """Of frames and masks, pixels."""

    @property
    def identity(self) -> dict[str, str | int]:
        """What is recorded with whatever was made of such clips."""
        return {"image_size": self.side, "frames": "bicubic", "masks": "area or bilinear, binary from one half on"}
