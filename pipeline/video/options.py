"""What decides which frames are taken from a video, and the limits within which it is decoded.

Nothing heavy is imported here: `fda preprocess --help` shows these defaults, and must not load a decoder for it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction

from pipeline.errors import OptionError

MAX_FPS = 1000
"""Frames a second: no video has more, and the arithmetic stays within 64 bits."""
MAX_LIMITS = {"max_pixels": (1 << 31) - 1, "max_packets": (1 << 31) - 1, "max_streams": 1000}
"""What the limits of `DecodeOptions` may be set to; ffmpeg takes none above 2**31 - 1."""
MAX_TIMEOUT_SECONDS = 86_400
"""A day."""


class SamplingMode(StrEnum):
    """How the frames of a clip are chosen."""

    UNIFORM = "uniform"
    """Those shown at the centres of equal spans, by presentation time; repeated where there are too few."""
    FPS = "fps"
    """Those shown at a constant rate from the start; where they are too many, some of them; too few, fewer."""
    CLIP4CLIP = "clip4clip"
    """One a second by frame number over the rate cut to an integer, as CLIP4Clip's `rawvideo_util.py` has it."""


class Keep(StrEnum):
    """Which of too many frames stay (CLIP4Clip's `slice_framepos`)."""

    HEAD = "head"
    TAIL = "tail"
    UNIFORM = "uniform"


@dataclass(frozen=True, slots=True)
class Sampling:
    """A sampling mode and what belongs to it."""

    mode: SamplingMode = SamplingMode.UNIFORM
    fps: Fraction = Fraction(1)
    """Frames a second of the mode `fps`."""
    keep: Keep = Keep.UNIFORM
    """Of the modes `fps` and `clip4clip`."""

    def __post_init__(self) -> None:
        if not 0 < self.fps <= MAX_FPS:
            raise OptionError(f"fps must be positive and at most {MAX_FPS}, got {self.fps}")

    def to_dict(self) -> dict[str, str]:
        """What matters of it, as strings.

        >>> Sampling().to_dict(), Sampling(SamplingMode.FPS, Fraction(1, 2)).to_dict()
        ({'mode': 'uniform'}, {'mode': 'fps', 'fps': '1/2', 'keep': 'uniform'})
        """
        match self.mode:
            case SamplingMode.UNIFORM:
                return {"mode": str(self.mode)}
            case SamplingMode.FPS:
                return {"mode": str(self.mode), "fps": str(self.fps), "keep": str(self.keep)}
            case SamplingMode.CLIP4CLIP:
                return {"mode": str(self.mode), "keep": str(self.keep)}


UNIFORM = Sampling()


class Resize(StrEnum):
    """What makes a stored picture out of a decoded one."""

    SWSCALE = "swscale"
    """ffmpeg's scaler in one step from the video's own pixels: bicubic, over as many pixels as the reduction takes."""
    CLIP = "clip"
    """RGB at the video's own size, then PIL's bicubic filter: what CLIP's preprocessing does, to the bit."""


@dataclass(frozen=True, slots=True)
class DecodeOptions:
    """How a clip is drawn from a video."""

    num_frames: int
    image_size: int = 224
    """Side of the square frames, in pixels."""
    sampling: Sampling = UNIFORM
    resize: Resize = Resize.SWSCALE
    neighbours: bool = False
    """Whether to take, for each frame, the grey picture of the one after it in the video as well."""
    timeout_seconds: float = 120.0
    """Wall time for one video."""
    min_side: int = 16
    """Pixels: a video whose shorter side is below this is refused, for it has no picture to speak of."""
    max_aspect: float = 32.0
    """Longer side over shorter side as displayed: above it there is no picture to speak of in the middle square."""
    max_pixels: int = 1 << 26
    """Width times height: a frame above it is refused (8K has 2**25)."""
    max_packets: int = 1 << 22
    """A video of more is refused: 4 million are 38 hours at 30 frames a second, and take about 800 MiB and a minute or
    more to look through (measured: 900,000 take 182 MiB and 16 s)."""
    max_streams: int = 64
    """A file of more streams is refused."""

    def __post_init__(self) -> None:
        counts = ("num_frames", "image_size", "min_side", "max_pixels", "max_packets", "max_streams")
        too_low = [name for name in counts if getattr(self, name) < 1]
        if too_low:
            raise OptionError(f"{too_low[0]} must be at least 1, got {getattr(self, too_low[0])}")
        too_high = [name for name, most in MAX_LIMITS.items() if getattr(self, name) > most]
        if too_high:
            most = MAX_LIMITS[too_high[0]]
            raise OptionError(f"{too_high[0]} must be at most {most}, got {getattr(self, too_high[0])}")
        if not 0 < self.timeout_seconds <= MAX_TIMEOUT_SECONDS:
            raise OptionError(
                f"timeout_seconds must be positive and at most {MAX_TIMEOUT_SECONDS}, got {self.timeout_seconds}"
            )
        if not self.max_aspect >= 1:
            raise OptionError(f"max_aspect must be at least 1, got {self.max_aspect}")


@dataclass(frozen=True, slots=True)
class Window:
    """A clip inside a longer video: `[start_seconds, end_seconds)` since the first frame of the video stream."""

    start_seconds: float = 0.0
    end_seconds: float | None = None
    """None, or more than there is: to the end of the video."""

    def __post_init__(self) -> None:
        end = math.inf if self.end_seconds is None else self.end_seconds
        if not 0 <= self.start_seconds < math.inf or not end > self.start_seconds:
            raise OptionError(f"a clip starts at 0 s or later and ends after it starts, got {self}")


WHOLE_VIDEO = Window()
