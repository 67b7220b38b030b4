"""What decides which frames are taken from a video, and the limits within which it is decoded.

Nothing heavy is imported here: `fda preprocess --help` shows these defaults, and must not load a decoder for it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction

from pipeline.errors import OptionError
from pipeline.run.fields import convert_fields

MAX_FPS = 1000
"""Frames a second: no video has more, and the arithmetic stays within 64 bits."""
MAX_LIMITS = {"max_pixels": (1 << 31) - 1, "max_packets": (1 << 31) - 1, "max_streams": 1000}
"""What the limits of `DecodeOptions` may be set to; ffmpeg takes none above 2**31 - 1."""
MAX_TIMEOUT_SECONDS = 86_400
"""A day."""
PROMPTS = 6
"""Spans of `SamplingMode.PROMPT_SWITCH`: its `num_prompts`."""


class SamplingMode(StrEnum):
    """How the frames of a clip are chosen."""

    UNIFORM = "uniform"
    """The frames shown at the centres of equal spans of time. A short video repeats frames."""
    FPS = "fps"
    """The frames shown at a constant rate from the start. `keep` chooses if they are too many; they may be too few."""
    CLIP4CLIP = "clip4clip"
    """One frame a second, counted with OpenCV's frame rate cut to an integer, as CLIP4Clip's `rawvideo_util.py` does.

    It seeks to these frames by their times, and so finds others where the rate varies."""
    PROMPT_SWITCH = "prompt-switch"
    """The test frames of Prompt Switch and of FDA-CLIP's code: several in each of `PROMPTS` spans of the frame numbers.

    **They are not in the order of time**: first one of each span, then the next one of each. So neighbours in the clip
    are a span apart, and once its last frame stands before its first."""

    @property
    def takes_fps(self) -> bool:
        """Whether `Sampling.fps` changes what is chosen."""
        return self is SamplingMode.FPS

    @property
    def takes_keep(self) -> bool:
        """Whether `Sampling.keep` does."""
        return self in (SamplingMode.FPS, SamplingMode.CLIP4CLIP)


class Keep(StrEnum):
    """Which frames are kept if there are too many (CLIP4Clip's `slice_framepos`)."""

    HEAD = "head"
    TAIL = "tail"
    UNIFORM = "uniform"


@dataclass(frozen=True, slots=True)
class Sampling:
    """A sampling mode with its parameters."""

    mode: SamplingMode = SamplingMode.UNIFORM
    fps: Fraction = Fraction(1)
    """Frames a second; used by the mode `fps`."""
    keep: Keep = Keep.UNIFORM
    """Used by the modes `fps` and `clip4clip`."""

    def __post_init__(self) -> None:
        convert_fields(self, mode=SamplingMode, fps=Fraction, keep=Keep)
        if not 0 < self.fps <= MAX_FPS:
            raise OptionError(f"fps must be positive and at most {MAX_FPS}, got {self.fps}")
        if self.fps != 1 and not self.mode.takes_fps:
            raise OptionError(f"fps belongs to sampling 'fps', not to {str(self.mode)!r}: leave it out")
        if self.keep is not Keep.UNIFORM and not self.mode.takes_keep:
            raise OptionError(f"keep belongs to sampling 'fps' and 'clip4clip', not to {str(self.mode)!r}")

    def to_dict(self) -> dict[str, str]:
        """The mode and the parameters that it uses, as strings.

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
            case SamplingMode.PROMPT_SWITCH:
                return {"mode": str(self.mode)}


UNIFORM = Sampling()


class Resize(StrEnum):
    """How a decoded picture is resized to a stored one."""

    SWSCALE = "swscale"
    """ffmpeg's scaler: bicubic, antialiased, in one step from the video's own pixel format. The faster one."""
    CLIP = "clip"
    """RGB at the video's own size, then PIL's bicubic filter: bit for bit what CLIP's preprocessing does."""


@dataclass(frozen=True, slots=True)
class DecodeOptions:
    """How a clip is drawn from a video."""

    num_frames: int
    image_size: int = 224
    """Side of the square frames, in pixels."""
    sampling: Sampling = UNIFORM
    resize: Resize = Resize.SWSCALE
    neighbours: bool = False
    """Whether to return, for each frame, the next frame of the video in grey as well."""
    timeout_seconds: float = 120.0
    """Wall time for one video; longer is `TIMEOUT`."""
    min_side: int = 16
    """Pixels. A video with a shorter side below this is refused: it shows no usable picture."""
    max_aspect: float = 32.0
    """Longer side over shorter side as displayed. Above it, the middle square shows no usable picture."""
    max_pixels: int = 1 << 26
    """Width times height. A larger frame is refused (8K has 2**25)."""
    max_packets: int = 1 << 22
    """A video of more packets is refused. 4 million are 38 hours at 30 frames a second; scanning them takes about
    800 MiB and a minute or more (measured: 900,000 take 182 MiB and 16 s)."""
    max_streams: int = 64
    """A file of more streams is refused."""

    def __post_init__(self) -> None:
        convert_fields(self, resize=Resize)
        counts = ("num_frames", "image_size", "min_side", "max_pixels", "max_packets", "max_streams")
        too_low = [name for name in counts if getattr(self, name) < 1]
        if too_low:
            raise OptionError(f"{too_low[0]} must be at least 1, got {getattr(self, too_low[0])}")
        too_high = [name for name, most in MAX_LIMITS.items() if getattr(self, name) > most]
        if too_high:
            most = MAX_LIMITS[too_high[0]]
            raise OptionError(f"{too_high[0]} must be at most {most}, got {getattr(self, too_high[0])}")
        if self.sampling.mode is SamplingMode.PROMPT_SWITCH and self.num_frames % PROMPTS:
            raise OptionError(
                f"sampling 'prompt-switch' takes the same number of frames from each of {PROMPTS} spans: the number of "
                f"frames must be a multiple of {PROMPTS}, got {self.num_frames}"
            )
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
    """None, or a time after the end of the video: to the end of the video."""

    def __post_init__(self) -> None:
        end = math.inf if self.end_seconds is None else self.end_seconds
        if not 0 <= self.start_seconds < math.inf or not end > self.start_seconds:
            raise OptionError(f"a clip starts at 0 s or later and ends after it starts, got {self}")

    def __str__(self) -> str:
        """As in messages.

        >>> str(Window(2.5)), str(Window(2.5, 10.0))
        ('from 2.5 s to the end', 'from 2.5 s to 10 s')
        """
        end = "the end" if self.end_seconds is None else f"{self.end_seconds:g} s"
        return f"from {self.start_seconds:g} s to {end}"


WHOLE_VIDEO = Window()
