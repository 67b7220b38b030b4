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
