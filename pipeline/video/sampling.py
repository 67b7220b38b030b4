"""Which frames stand for a clip: index arithmetic on presentation times, without a video.

All of it is exact. Times are integers (ticks of the stream's time base) and targets are computed with Python's
unbounded integers, so nothing overflows and no frame rate is ever rounded.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def uniform_targets(start_pts: int, end_pts: int, num_frames: int) -> NDArray[np.int64]:
    """The centres of `num_frames` equal spans of the clip `[start_pts, end_pts)`, rounded down to a tick.

    A frame's time is a whole tick, so it is at or before a centre exactly when it is at or before the centre rounded
    down: nothing is lost by the rounding.

    Args:
        start_pts: Time at which the clip starts, in ticks.
        end_pts: One past its last tick; later than `start_pts`.
        num_frames: How many targets, at least 1.

    Returns:
        Shape (num_frames,), non-decreasing, each in `[start_pts, end_pts)`.

    Raises:
        ValueError: An empty clip, or no frame asked for.

    Ten ticks in two spans, `[0, 5)` and `[5, 10)`, whose centres are 2.5 and 7.5:

    >>> uniform_targets(0, 10, 2).tolist()
    [2, 7]
    """
    if num_frames < 1:
        raise ValueError(f"num_frames must be at least 1, got {num_frames}")
    if end_pts <= start_pts:
        raise ValueError(f"a clip must end after it starts, got [{start_pts}, {end_pts})")
    span = end_pts - start_pts
    # Centre i is start + (i + 1/2) * span / num_frames, in Python's integers.
    targets = [start_pts + (2 * i + 1) * span // (2 * num_frames) for i in range(num_frames)]
    return np.array(targets, dtype=np.int64)


def uniform_indices(pts: NDArray[np.int64], end_pts: int, num_frames: int) -> NDArray[np.int64]:
    """The frames shown at the centres of `num_frames` equal spans of the clip `[pts[0], end_pts)`.

    The frame shown at a time is the last one whose presentation time is not after it. At a constant frame rate with
    `N` frames that is `floor((i + 1/2) * N / num_frames)`. Frames repeat where there are fewer than targets.

    Args:
        pts: Shape (N,), N >= 1: presentation times in ticks, strictly increasing.
        end_pts: The tick at which the last frame stops being shown; later than `pts[-1]`, or the declared end of a
            clip whose frames are not all there.
        num_frames: How many frames to choose, at least 1.

    Returns:
        Shape (num_frames,): positions in `pts`, non-decreasing.

    Raises:
        ValueError: No frames, times that do not increase, an end that is not after the last frame, or no frame asked
            for.

    Nine frames of one tick and three targets: the middle frame of each third.

    >>> uniform_indices(np.arange(9), 9, 3).tolist()
    [1, 4, 7]

    Fewer frames than targets, and a last frame that is held for long:

    >>> uniform_indices(np.array([0, 10]), 20, 4).tolist()
    [0, 0, 1, 1]
    >>> uniform_indices(np.array([0, 1, 2]), 100, 4).tolist()
    [2, 2, 2, 2]
    """
    if pts.ndim != 1 or pts.size == 0:
        raise ValueError(f"pts must be a vector of at least one time, got shape {pts.shape}")
    if not bool(np.all(pts[1:] > pts[:-1])):  # a comparison cannot overflow, a difference can
        raise ValueError("pts must be strictly increasing")
    if end_pts <= int(pts[-1]):
        raise ValueError(f"the clip must end after its last frame at {int(pts[-1])}, got end_pts {end_pts}")
    targets = uniform_targets(int(pts[0]), end_pts, num_frames)
    return np.searchsorted(pts, targets, side="right").astype(np.int64) - 1
