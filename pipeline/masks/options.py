"""How a mask is made from two frames."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum

from pipeline.errors import OptionError
from pipeline.run.fields import convert_fields
from store.json_values import JSON


class Difference(StrEnum):
    """Which two pictures are compared."""

    SAMPLED = "sampled"
    """Each frame of the clip with the next frame of the clip (FDA-CLIP)."""
    CONSECUTIVE = "consecutive"
    """Each frame of the clip with the frame that follows it in the video."""


class Compensation(StrEnum):
    """Which motion of the camera is removed before two pictures are compared."""

    NONE = "none"
    TRANSLATION = "translation"
    """A shift: pans and tilts."""
    SIMILARITY = "similarity"
    """A shift, a zoom and a rotation about the viewing axis."""


class ThresholdMode(StrEnum):
    """How large a difference must be for a pixel to count as moved."""

    FIXED = "fixed"
    """`threshold` grey levels (FDA-CLIP)."""
    NOISE = "noise"
    """`noise_sigmas` times the noise of the pair of pictures, and at least `noise_floor` grey levels."""


class WhenEmpty(StrEnum):
    """What replaces a mask in which nothing moves."""

    KEEP = "keep"
    ONES = "ones"
    """The whole picture: what Alpha-CLIP takes for "no region in particular"."""


class WhenFull(StrEnum):
    """What replaces a mask that covers at least `full_coverage` of the picture."""

    KEEP = "keep"
    ONES = "ones"
    ZEROS = "zeros"


@dataclass(frozen=True, slots=True)
class MaskOptions:
    """How a mask is made from two frames. The paper fixes the threshold; the rest are choices of this project."""

    threshold: float = 25.0
    """Grey levels, 0..255: a pixel has moved if it differs by more than this. Not used by the mode `noise`."""
    kernel_size: int = 5
    """Side of the elliptical structuring element of closing and opening, in stored pixels; odd. 1 disables both."""
    min_area: int = 64
    """Stored pixels: smaller 8-connected components are dropped. 0 and 1 keep all."""
    difference: Difference = Difference.SAMPLED
    compensation: Compensation = Compensation.NONE
    threshold_mode: ThresholdMode = ThresholdMode.FIXED
    noise_sigmas: float = 6.0
    """Mode `noise`: standard deviations of the noise of a difference that a pixel must exceed."""
    noise_floor: float = 8.0
    """Mode `noise`: grey levels, 0..255; the threshold is never lower, so that a clip without noise stays empty."""
    when_empty: WhenEmpty = WhenEmpty.KEEP
    when_full: WhenFull = WhenFull.KEEP
    full_coverage: float = 0.9
    """Share of the picture, above 0 and up to 1, from which on a mask is full."""
    soft: bool = False
    """Whether a mask says how likely each pixel moves, 0..255, instead of whether it does: `pipeline.masks.soft`."""

    def __post_init__(self) -> None:
        # 25 and 25.0 are the same masks, and must be the same bytes in the attributes of their array.
        convert_fields(self, threshold=float, noise_sigmas=float, noise_floor=float, full_coverage=float)
        convert_fields(self, difference=Difference, compensation=Compensation, threshold_mode=ThresholdMode)
        convert_fields(self, when_empty=WhenEmpty, when_full=WhenFull)
        for name in ("threshold", "noise_floor"):
            if not 0.0 <= getattr(self, name) <= 255.0:
                raise OptionError(f"{name} must be in 0..255 grey levels, got {getattr(self, name)}")
        if self.kernel_size < 1 or self.kernel_size % 2 == 0:
            raise OptionError(f"kernel_size must be odd and at least 1, got {self.kernel_size}")
        if self.min_area < 0:
            raise OptionError(f"min_area must not be negative, got {self.min_area}")
        if not 0.0 < self.noise_sigmas <= 1000.0:
            raise OptionError(f"noise_sigmas must be over 0 and at most 1000, got {self.noise_sigmas}")
        if not 0.0 < self.full_coverage <= 1.0:
            raise OptionError(f"full_coverage must be over 0 and at most 1, got {self.full_coverage}")

    def check_picture(self, height: int, width: int) -> None:
        """Refuse options that leave every mask of pictures of this size empty.

        Raises:
            OptionError: They do.
        """
        if self.min_area > height * width:
            raise OptionError(
                f"min_area must be at most {height * width}, a picture of {height} x {width} pixels, got "
                f"{self.min_area}: every mask would be empty"
            )

    def identity(self) -> dict[str, JSON]:
        """What two runs must agree on to share one mask set."""
        identity = asdict(self)
        if not self.soft:  # a store that was made before there were soft masks goes on with the same bytes
            del identity["soft"]
        return identity


@dataclass(frozen=True, slots=True)
class MaskSet:
    """One set of masks of a store: its name, and how its masks are made."""

    name: str
    options: MaskOptions
