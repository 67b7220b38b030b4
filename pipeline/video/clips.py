"""What decoding takes and gives: options, a clip with its times, facts about its source, and why there is none."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from pipeline.video.sampling import UNIFORM, Sampling
from store.schema import VideoStatus

MAX_LIMITS = {"max_pixels": (1 << 31) - 1, "max_packets": (1 << 31) - 1, "max_streams": 1000}
"""What the limits of `DecodeOptions` may be set to; ffmpeg takes none above 2**31 - 1."""
MAX_TIMEOUT_SECONDS = 86_400
"""A day."""


class VideoError(Exception):
    """A video that gives no clip: its status, and the reason in one line without the path."""

    def __init__(self, status: VideoStatus, reason: str) -> None:
        super().__init__(status, reason)  # both, so that it survives the pickling between processes
        self.status = status
        self.reason = " ".join(reason.split())

    def __str__(self) -> str:
        return f"{self.status}: {self.reason}"


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
            raise ValueError(f"{too_low[0]} must be at least 1, got {getattr(self, too_low[0])}")
        too_high = [name for name, most in MAX_LIMITS.items() if getattr(self, name) > most]
        if too_high:
            most = MAX_LIMITS[too_high[0]]
            raise ValueError(f"{too_high[0]} must be at most {most}, got {getattr(self, too_high[0])}")
        if not 0 < self.timeout_seconds <= MAX_TIMEOUT_SECONDS:
            raise ValueError(
                f"timeout_seconds must be positive and at most {MAX_TIMEOUT_SECONDS}, got {self.timeout_seconds}"
            )
        if not self.max_aspect >= 1:
            raise ValueError(f"max_aspect must be at least 1, got {self.max_aspect}")


@dataclass(frozen=True, slots=True)
class Window:
    """A clip inside a longer video: `[start_seconds, end_seconds)` since the first frame of the video stream."""

    start_seconds: float = 0.0
    end_seconds: float | None = None
    """None, or more than there is: to the end of the video."""

    def __post_init__(self) -> None:
        end = math.inf if self.end_seconds is None else self.end_seconds
        if not 0 <= self.start_seconds < math.inf or not end > self.start_seconds:
            raise ValueError(f"a clip starts at 0 s or later and ends after it starts, got {self}")


WHOLE_VIDEO = Window()


@dataclass(frozen=True, slots=True)
class ClipSample:
    """Frames drawn from one video, each with its time and its place."""

    frames: NDArray[np.uint8]
    """Shape (num_frames, size, size, 3), RGB."""
    pts_seconds: NDArray[np.float64]
    """Shape (num_frames,): when each frame is first shown, in seconds since the first frame of the video stream."""
    frame_index: NDArray[np.int64]
    """Shape (num_frames,): place of each frame in presentation order, from 0; -1 where the clip has fewer frames than
    slots (the sampling modes `fps` and `clip4clip`): such a slot is black, its time is NaN, and it comes last."""
    next_grey: NDArray[np.uint8] | None = None
    """Shape (num_frames, size, size), if asked for: of each frame the one after it in the video, in grey (BT.601
    weights); of the last frame of the video the one before it."""

    def __post_init__(self) -> None:
        num_frames = self.frames.shape[0]
        if self.frames.ndim != 4 or self.frames.shape[1] != self.frames.shape[2] or self.frames.shape[3] != 3:
            raise ValueError(f"frames must have shape (num_frames, size, size, 3), got {self.frames.shape}")
        if self.pts_seconds.shape != (num_frames,) or self.frame_index.shape != (num_frames,):
            raise ValueError(
                f"every frame has one time and one index: {num_frames} frames, "
                f"pts_seconds {self.pts_seconds.shape}, frame_index {self.frame_index.shape}"
            )
        types = [str(array.dtype) for array in (self.frames, self.pts_seconds, self.frame_index)]
        if types != ["uint8", "float64", "int64"]:
            raise ValueError(f"expected uint8, float64 and int64, got {types}")
        if self.next_grey is not None and self.next_grey.shape != self.frames.shape[:3]:
            raise ValueError(f"next_grey must have shape {self.frames.shape[:3]}, got {self.next_grey.shape}")


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """What a video is, as its packets or frames show it rather than as its header claims."""

    duration_seconds: float
    """Length of the span that was sampled: of the clip, or first frame to the end of the last one (the declared end if
    the file is cut off)."""
    fps: float
    """Frames over the seconds they cover, on average."""
    codec: str
    """ffmpeg's name of the coding, such as `h264`."""
    num_frames: int
    """Frames that can be shown; of a file that was cut off, those that are left."""
    width: int
    """Pixels as displayed, that is after rotation."""
    height: int

    def __post_init__(self) -> None:
        if min(self.num_frames, self.width, self.height) < 1 or min(self.duration_seconds, self.fps) <= 0:
            raise ValueError(f"a video has frames, a size, a duration and a rate, got {self}")


@dataclass(frozen=True, slots=True)
class DecodedClip:
    """A clip, where it came from, and whether its file had been cut off after the last frame the clip needs."""

    sample: ClipSample
    source: SourceFacts
    truncated: bool
