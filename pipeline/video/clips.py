"""What decoding takes and gives: options, a clip with its times, facts about its source, and why there is none."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from store.schema import VideoStatus


class VideoError(Exception):
    """A video that gives no clip: its status, and the reason in one line without the path."""

    def __init__(self, status: VideoStatus, reason: str) -> None:
        super().__init__(status, reason)  # both, so that it survives the pickling between processes
        self.status = status
        self.reason = " ".join(reason.split())

    def __str__(self) -> str:
        return f"{self.status}: {self.reason}"


@dataclass(frozen=True, slots=True)
class DecodeOptions:
    """How a clip is drawn from a video."""

    num_frames: int
    image_size: int = 224
    """Side of the square frames, in pixels."""
    timeout_seconds: float = 120.0
    """Wall time for one video; checked between packets, so a decoder stuck inside one packet is not stopped by it."""
    min_side: int = 16
    """Pixels: a video whose shorter side is below this is refused, for it has no picture to speak of."""
    max_aspect: float = 32.0
    """Longer side over shorter side: above it the resized picture would not fit into memory."""
    max_pixels: int = 1 << 26
    """Width times height: a frame above it is refused (8K has 2**25)."""

    def __post_init__(self) -> None:
        if min(self.num_frames, self.image_size, self.min_side, self.max_pixels) < 1:
            raise ValueError(f"num_frames, image_size, min_side and max_pixels must be at least 1, got {self}")
        if not self.timeout_seconds > 0:
            raise ValueError(f"timeout_seconds must be positive, got {self.timeout_seconds}")
        if not self.max_aspect >= 1:
            raise ValueError(f"max_aspect must be at least 1, got {self.max_aspect}")


@dataclass(frozen=True, slots=True)
class ClipSample:
    """Frames drawn from one video, each with its time and its place."""

    frames: NDArray[np.uint8]
    """Shape (num_frames, size, size, 3), RGB."""
    pts_seconds: NDArray[np.float64]
    """Shape (num_frames,): when each frame is first shown, in seconds since the first frame of the video stream."""
    frame_index: NDArray[np.int64]
    """Shape (num_frames,): place of each frame in presentation order, from 0."""

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


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """What a video is, as its packets or frames show it rather than as its header claims."""

    duration_seconds: float
    """Length of the span that was sampled: first frame to the end of the last one, or the declared end if cut off."""
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
