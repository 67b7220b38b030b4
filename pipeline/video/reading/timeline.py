"""When each frame of a video is shown, and which frames a clip takes; pure arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from pipeline.video.clips import VideoError
from pipeline.video.options import DecodeOptions, SamplingMode, Window
from pipeline.video.sampling import (
    clip4clip_indices,
    fps_targets,
    kept,
    prompt_switch_indices,
    shown_at,
    uniform_targets,
)
from store.schema import VideoStatus

UNKNOWN_END = 2**62
"""The end of a video of which part is lost, in ticks, if nothing says when it was."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """The frames of a video in presentation order, and the span they are sampled from."""

    pts: NDArray[np.int64]
    """Shape (num_frames,): strictly increasing, in ticks."""
    end_pts: int
    """The clip is `[pts[0], end_pts)`. May be `UNKNOWN_END`."""
    readable_end: int
    """No frame is missing before this tick. Below `end_pts` only if frames are lost."""
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
        """Whether frames of the whole video are not in the file."""
        return self.readable_end < self.end_pts

    def seconds(self, ticks: int) -> float:
        """Ticks as seconds."""
        return float(ticks * self.time_base)

    def seconds_of(self, index: NDArray[np.int64]) -> NDArray[np.float64]:
        """When frames are shown, in seconds since the first; shape as given."""
        return np.array([self.seconds(int(self.pts[i]) - self.start_pts) for i in index], dtype=np.float64)

    def span(self, window: Window) -> tuple[int, int]:
        """The ticks `[start, end)` of a clip, clamped to the video; at least one tick."""
        # A header may declare an end before the last frame that is there.
        end = max(self.end_pts, int(self.pts[-1]) + 1)
        start = min(end - 1, self.start_pts + self._ticks(window.start_seconds))
        if window.end_seconds is not None:
            end = min(end, max(start + 1, self.start_pts + self._ticks(window.end_seconds)))
        return start, end

    def choose(self, options: DecodeOptions, window: Window, rate: Fraction | None) -> NDArray[np.int64]:
        """The frames of a clip.

        Args:
            options: How many, and how they are sampled.
            window: The clip.
            rate: Frames a second by the header; used only by `clip4clip`.

        Returns:
            Shape (n,): places in the timeline, non-decreasing but with `prompt-switch`; n is at most `num_frames`.

        Raises:
            VideoError: `TRUNCATED` if a frame was cut off; `TOO_SHORT`; `UNSUPPORTED` if there is no rate.
        """
        sampling = options.sampling
        if sampling.mode is SamplingMode.CLIP4CLIP:
            return self._clip4clip(options, window, rate)
        start, end = self._moving_span(window)
        match sampling.mode:
            case SamplingMode.UNIFORM:
                targets = uniform_targets(start, end, options.num_frames)
            case SamplingMode.FPS:
                interval = 1 / (sampling.fps * self.time_base)
                targets = fps_targets(start, end, interval, options.num_frames, sampling.keep)
            case SamplingMode.PROMPT_SWITCH:
                return self._prompt_switch(options, start, end)
        if self.truncated and int(targets[-1]) >= self.readable_end:
            raise self.lost()
        return shown_at(self.pts, targets)

    def _moving_span(self, window: Window) -> tuple[int, int]:
        """The ticks of a clip. A clip of fewer than two frames is refused."""
        start, end = self.span(window)
        first, last = shown_at(self.pts, np.array([start, end - 1])).tolist()
        if self.start_pts + self._ticks(window.start_seconds) > start:
            whole = self.seconds(end - self.start_pts)
            reason = f"the clip begins at {window.start_seconds:g} s, and the video ends at {whole:.3f} s"
            raise VideoError(VideoStatus.TOO_SHORT, reason)
        # With a loss, the clip may have had more frames: `choose` decides what is missing.
        if first == last and not end > self.readable_end:
            when = self.seconds(int(self.pts[first]) - self.start_pts)
            raise VideoError(VideoStatus.TOO_SHORT, f"the clip has 1 frame, at {when:.3f} s, and motion needs two")
        return start, end

    def _clip4clip(self, options: DecodeOptions, window: Window, rate: Fraction | None) -> NDArray[np.int64]:
        num_frames = num_readable = int(np.searchsorted(self.pts, self.readable_end))
        if self.truncated:
            # Lost frames have numbers too. More of them than the clip takes from its start make no difference.
            interval = max(1, (int(self.pts[-1]) - self.start_pts) // max(1, len(self.pts) - 1))
            most = options.num_frames * max(1, round(rate or 0))
            num_frames += min(most, -((self.readable_end - self.end_pts) // interval))  # ceil, in integers
        try:
            indices = clip4clip_indices(num_frames, rate or Fraction(0), window.start_seconds, window.end_seconds)
        except ValueError as error:
            raise VideoError(VideoStatus.UNSUPPORTED, f"the video has {error}") from error
        if not len(indices):
            raise VideoError(VideoStatus.TOO_SHORT, f"no frame of the video lies in the clip, {window}")
        chosen = indices[kept(len(indices), options.num_frames, options.sampling.keep)]
        if int(chosen[-1]) >= num_readable:
            raise self.lost()
        return chosen

    def _prompt_switch(self, options: DecodeOptions, start: int, end: int) -> NDArray[np.int64]:
        if end > self.readable_end:  # its spans are of frame numbers, and nobody knows how many frames are lost
            raise self.lost()
        first, last = shown_at(self.pts, np.array([start, end - 1])).tolist()
        indices = prompt_switch_indices(last - first + 1, options.num_frames)
        return np.asarray(indices + first, dtype=np.int64)

    def lost(self) -> VideoError:
        """The error of a clip that wants a frame after the loss."""
        readable = self.seconds(max(0, self.readable_end - self.start_pts))
        if self.end_pts == UNKNOWN_END:
            reason = f"part of the file is lost: only the first {readable:.3f} s are readable, of an unknown length"
        else:
            whole = self.seconds(self.end_pts - self.start_pts)
            reason = f"part of the file is lost: only the first {readable:.3f} s of {whole:.3f} s are readable"
        return VideoError(VideoStatus.TRUNCATED, reason)

    def _ticks(self, seconds: float) -> int:
        return round(Fraction(seconds) / self.time_base)


def timeline_of(
    times: Sequence[int] | NDArray[np.int64],
    last_duration: int,
    time_base: Fraction,
    declared_end: int | None,
    complete_until: int | None,
) -> Timeline:
    """The timeline of frames shown at `times`, sorted, the last one for `last_duration` or else the mean interval.

    Args:
        times: In ticks, strictly increasing, at least two.
        last_duration: In ticks; 0 if unknown.
        time_base: Seconds a tick.
        declared_end: End of the whole video if part of it is lost, or `UNKNOWN_END`; None for a whole file.
        complete_until: If part is lost, frames at or after this tick may be missing.

    >>> timeline_of([0, 10, 20], 0, Fraction(1, 1000), None, None).end_pts
    30
    >>> timeline_of([0, 10, 20], 10, Fraction(1, 1000), 25, None).end_pts == UNKNOWN_END
    True
    >>> cut = timeline_of([0, 10, 40], 10, Fraction(1, 1000), 100, 20)
    >>> cut.readable_end, cut.end_pts
    (20, 100)
    """
    first, last = int(times[0]), int(times[-1])
    mean_interval = max(1, round(Fraction(last - first, len(times) - 1)))
    end = last + (last_duration if last_duration > 0 else mean_interval)
    readable_end = end if complete_until is None else min(end, complete_until)
    pts = np.array(times, dtype=np.int64)
    if declared_end is None:
        return Timeline(pts, end, end, time_base)
    # A header that says less than there is says nothing.
    return Timeline(pts, declared_end if declared_end > readable_end else UNKNOWN_END, readable_end, time_base)
