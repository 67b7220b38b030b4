"""How a mask is made."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from operator import index

from pipeline.errors import OptionError
from pipeline.run.fields import convert_fields
from store.json_values import JSON

GROUND = "ground"
"""In the identity of masks against a background: how its ground was found, see `pipeline.masks.ground`."""


class Difference(StrEnum):
    """What a frame is compared with."""

    SAMPLED = "sampled"
    """Each frame of the clip with the next frame of the clip (FDA-CLIP)."""
    CONSECUTIVE = "consecutive"
    """Each frame of the clip with the frame that follows it in the video."""
    BACKGROUND = "background"
    """Each frame with the temporal median of the frames of its shot."""
    REGISTERED = "registered"
    """The same, after the frames are aligned by the motion of the camera."""
    AUTO = "auto"
    """`background` for clips whose camera rests, `registered` for the others."""

    @property
    def is_of_pairs(self) -> bool:
        """Whether two pictures are compared, and not a picture with a background."""
        return self in (Difference.SAMPLED, Difference.CONSECUTIVE)


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


class Fill(StrEnum):
    """How a mask grows from what moved to whole objects."""

    NONE = "none"
    CONTOURS = "contours"
    """What an outline encloses belongs to the mask."""
    HYSTERESIS = "hysteresis"
    """Pixels above half of the threshold count, too, where they are connected to a component of the mask."""
    BOTH = "both"

    @property
    def has_contours(self) -> bool:
        """Whether outlines are filled."""
        return self in (Fill.CONTOURS, Fill.BOTH)

    @property
    def has_hysteresis(self) -> bool:
        """Whether weaker pixels count."""
        return self in (Fill.HYSTERESIS, Fill.BOTH)


class Cuts(StrEnum):
    """How cuts in a clip are found; no frame is compared across one."""

    IGNORE = "ignore"
    """The clip is one shot (FDA-CLIP)."""
    DIFFERENCE = "difference"
    """By the stored frames: see `pipeline.masks.shots`."""
    CONTENT = "content"
    """By the ContentDetector of PySceneDetect, over the stored frames."""


class WhenEmpty(StrEnum):
    """What replaces a mask in which nothing moves."""

    KEEP = "keep"
    ONES = "ones"
    """The whole picture: what Alpha-CLIP takes for "no region in particular"."""
    STRETCH = "stretch"
    """Soft masks only: its faint motion, multiplied so that the likeliest pixel is sure; the whole picture if there is
    none at all."""


class WhenFull(StrEnum):
    """What replaces a mask that covers at least `full_coverage` of the picture."""

    KEEP = "keep"
    ONES = "ones"
    ZEROS = "zeros"


@dataclass(frozen=True, slots=True)
class MaskOptions:
    """How a mask is made. The paper fixes the threshold of its difference; the rest are choices of this project.

    `None` takes the default of the difference, which depends on whether pairs of frames are compared, as in the paper,
    or frames with a background. A made object has no `None` left.

    >>> MaskOptions().threshold, MaskOptions(difference=Difference.AUTO).threshold
    (25.0, 15.0)
    """

    threshold: float | None = None
    """Grey levels, 0..255: a pixel has moved if it differs by more than this. Not used by the mode `noise`. Default: 25
    (FDA-CLIP); 15 against a background."""
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
    fill: Fill | None = None
    """Default: `none`; `hysteresis` against a background."""
    cuts: Cuts | None = None
    """Default: `ignore`; `difference` against a background."""

    def __post_init__(self) -> None:
        convert_fields(self, difference=Difference)
        for name, value in _defaults(self.difference).items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        # 25 and 25.0 are the same masks, and must be the same bytes in the attributes of their array.
        convert_fields(self, threshold=float, noise_sigmas=float, noise_floor=float, full_coverage=float)
        convert_fields(self, kernel_size=index, min_area=index)
        convert_fields(self, compensation=Compensation, threshold_mode=ThresholdMode)
        convert_fields(self, when_empty=WhenEmpty, when_full=WhenFull, fill=Fill, cuts=Cuts)
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
        self._check_combination()

    def _check_combination(self) -> None:
        if self.when_empty is WhenEmpty.STRETCH and not self.soft:
            raise OptionError(
                "when_empty 'stretch' needs soft masks (--soft): in a binary mask that is empty there is nothing to "
                "stretch. Use 'ones' or 'keep'"
            )
        if not self.difference.is_of_pairs and self.compensation != Compensation.NONE:
            raise OptionError(
                f"difference {str(self.difference)!r} takes no compensation, got {str(self.compensation)!r}: "
                "'registered' and 'auto' find the motion of the camera themselves"
            )
        if self.difference == Difference.CONSECUTIVE and self.cuts != Cuts.IGNORE:
            raise OptionError(
                f"difference 'consecutive' compares each frame with the next one of its video, so cuts between the "
                f"frames of a clip do not matter, got cuts {str(self.cuts)!r}: use 'ignore'"
            )

    def check_used(self) -> None:
        """Refuse options that change nothing, for whoever gave them meant them to.

        Masks that are in a store may have been made with some, so that this is asked of new ones alone.

        Raises:
            OptionError: There are some.
        """
        usual = MaskOptions(difference=self.difference)
        if self.threshold_mode is ThresholdMode.NOISE:
            idle = {"threshold": "threshold_mode 'fixed'"}
        else:
            idle = dict.fromkeys(("noise_sigmas", "noise_floor"), "threshold_mode 'noise'")
        for name, needed in idle.items():
            if (value := getattr(self, name)) != getattr(usual, name):
                raise OptionError(
                    f"{name} {value:g} would change nothing: it is for {needed}. Leave it out, or set that"
                )

    @property
    def tau(self) -> float:
        """The threshold, grey levels."""
        assert self.threshold is not None, "__post_init__ sets it"
        return self.threshold

    @property
    def filling(self) -> Fill:
        """How masks grow."""
        assert self.fill is not None, "__post_init__ sets it"
        return self.fill

    @property
    def cutting(self) -> Cuts:
        """How cuts are found."""
        assert self.cuts is not None, "__post_init__ sets it"
        return self.cuts

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
        """What two runs must agree on to share one mask set.

        A mask set that is older than `fill`, `cuts` and `soft` has none of them, and goes on with the same bytes. So
        they are left out where they change nothing of what the paper's differences give. One that is older than
        `pipeline.masks.ground` does not say how its ground was found, and is another one.
        """
        identity = asdict(self)
        if not self.soft:
            del identity["soft"]
        if self.difference.is_of_pairs:
            for name in ("fill", "cuts"):
                if identity[name] == _defaults(self.difference)[name]:
                    del identity[name]
        else:
            identity[GROUND] = "chosen"
        return identity


def _defaults(difference: Difference) -> dict[str, float | Fill | Cuts]:
    """What `None` stands for."""
    if difference.is_of_pairs:
        return {"threshold": 25.0, "fill": Fill.NONE, "cuts": Cuts.IGNORE}
    return {"threshold": 15.0, "fill": Fill.HYSTERESIS, "cuts": Cuts.DIFFERENCE}


@dataclass(frozen=True, slots=True)
class MaskSet:
    """One set of masks of a store: its name, and how its masks are made."""

    name: str
    options: MaskOptions
