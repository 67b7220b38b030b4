"""What decoding returns: a clip with its times and facts about its source, or an error that says why there is none."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from store.schema import VideoStatus


class VideoError(Exception):
    """A video failed: its status, and the reason in one line without the path."""

    def __init__(self, status: VideoStatus, reason: str) -> None:
        super().__init__(status, reason)  # both, because exceptions are pickled by their arguments
        self.status = status
        self.reason = " ".join(reason.split())

    def __str__(self) -> str:
        return f"{self.status}: {self.reason}"


@dataclass(frozen=True, slots=True)
class ClipSample:
    """Frames drawn from one video, each with its time and its index."""

    frames: NDArray[np.uint8]
    """Shape (num_frames, size, size, 3), RGB."""
    pts_seconds: NDArray[np.float64]
    """Shape (num_frames,): when each frame is first shown, in seconds since the first frame of the video stream."""
    frame_index: NDArray[np.int64]
    """Shape (num_frames,): index of each frame in presentation order, from 0. The sampling modes `fps` and `clip4clip`
    may give fewer frames than slots: the empty slots come last, with index -1, time NaN and a black picture."""
    next_grey: NDArray[np.uint8] | None = None
    """Shape (num_frames, size, size), with `DecodeOptions.neighbours`: the frame after each frame in the video, in grey
    (BT.601 weights). The last frame of the video has none, and gets the frame before it."""

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
    """Facts about a video, from its packets or frames.

    Headers are not trusted: of frames, WebM counts 0 and many an AVI a wrong number.
    """

    duration_seconds: float
    """Length of the sampled span: the clip's, or from the first frame to the end of the last one (to the declared end
    if part of the file is lost)."""
    fps: float
    """Frames over the seconds they cover, on average."""
    codec: str
    """ffmpeg's name of the coding, such as `h264`."""
    num_frames: int
    """Frames that can be shown; for a file of which part is lost, the remaining ones."""
    width: int
    """Pixels as displayed, that is without what the container cuts off, and after rotation."""
    height: int

    def __post_init__(self) -> None:
        if min(self.num_frames, self.width, self.height) < 1 or min(self.duration_seconds, self.fps) <= 0:
            raise ValueError(f"a video has frames, a size, a duration and a rate, got {asdict(self)}")


@dataclass(frozen=True, slots=True)
class DecodedClip:
    """A clip, and its notes."""

    sample: ClipSample
    source: SourceFacts
    truncated: bool
    """Whether frames are lost after the last one that the clip needs."""
    notes: tuple[str, ...] = ()
    """Choices that a person should know of, each in one line: which of several video streams it is, a colour matrix
    that was replaced."""
