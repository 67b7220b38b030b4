"""When each frame of a video is shown, and which frames a clip takes; pure arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from pipeline.video.clips import VideoError
from pipeline.video.sampling import uniform_indices, uniform_targets
from store.schema import VideoStatus


@dataclass(frozen=True, slots=True)
class Timeline:
    """The frames of a video in presentation order, and the span they are sampled from."""

    pts: NDArray[np.int64]
    """Shape (num_frames,): strictly increasing, in ticks."""
    end_pts: int
    """The clip is `[pts[0], end_pts)`."""
    readable_end: int
    """No frame is missing before this tick; below `end_pts` only where the file was cut off."""
    time_base: Fraction
    """Seconds a tick."""

    def __post_init__(self) -> None:
        if self.pts.ndim != 1 or self.pts.size == 0 or not bool(np.all(self.pts[1:] > self.pts[:-1])):
            raise ValueError(f"pts must be a strictly increasing vector, got shape {self.pts.shape}")
        if not int(self.pts[0]) < self.end_pts or self.readable_end > self.end_pts or self.time_base <= 0:
            raise ValueError(f"no clip from {int(self.pts[0])} to {self.end_pts}, readable to {self.readable_end}")

    @property
    def start_pts(self) -> int:
        """Presentation time of the first frame, in ticks."""
        return int(self.pts[0])

    @property
    def truncated(self) -> bool:
        """Whether the end of the clip is not in the file."""
        return self.readable_end < self.end_pts

    def seconds(self, ticks: int) -> float:
        """Ticks as seconds."""
        return float(ticks * self.time_base)

    def seconds_of(self, index: NDArray[np.int64]) -> NDArray[np.float64]:
        """When frames are shown, in seconds since the first; shape as given."""
        return np.array([self.seconds(int(self.pts[i]) - self.start_pts) for i in index], dtype=np.float64)

    def choose(self, num_frames: int) -> NDArray[np.int64]:
        """`uniform_indices` of the whole clip, refused if one of them would lie in what was cut off.

        Raises:
            VideoError: `TRUNCATED`.
        """
        last_target = int(uniform_targets(self.start_pts, self.end_pts, num_frames)[-1])
        if self.truncated and last_target >= self.readable_end:
            readable = self.seconds(max(0, self.readable_end - self.start_pts))
            whole = self.seconds(self.end_pts - self.start_pts)
            reason = f"the file was cut off, only {readable:.3f} s of {whole:.3f} s are readable"
            raise VideoError(VideoStatus.TRUNCATED, reason)
        return uniform_indices(self.pts, max(self.end_pts, int(self.pts[-1]) + 1), num_frames)


def timeline_of(
    times: Sequence[int],
    last_duration: int,
    time_base: Fraction,
    declared_end: int | None,
    complete_until: int | None,
) -> Timeline:
    """The timeline of frames shown at `times`, sorted, the last one for `last_duration` or else the mean interval.

    Args:
        times: In ticks, strictly increasing, at least two.
        last_duration: In ticks; 0 when unknown.
        time_base: Seconds a tick.
        declared_end: Where a file that was cut off was to end; None for a whole file. It counts when it is more than
            half a mean interval after the end of the frames (headers round their durations).
        complete_until: In a file that was cut off, pictures shown at or after this tick may be missing.

    >>> timeline_of([0, 10, 20], 0, Fraction(1, 1000), None, None).end_pts
    30
    >>> timeline_of([0, 10, 20], 10, Fraction(1, 1000), 35, None).truncated
    False
    >>> cut = timeline_of([0, 10, 40], 10, Fraction(1, 1000), 100, 20)
    >>> cut.readable_end, cut.end_pts
    (20, 100)
    """
    mean_interval = max(1, round(Fraction(times[-1] - times[0], len(times) - 1)))
    end = times[-1] + (last_duration if last_duration > 0 else mean_interval)
    readable_end = end if complete_until is None else min(end, complete_until)
    pts = np.array(times, dtype=np.int64)
    if declared_end is None or 2 * (declared_end - readable_end) <= mean_interval:
        return Timeline(pts, end, end, time_base)
    return Timeline(pts, max(declared_end, end), readable_end, time_base)
