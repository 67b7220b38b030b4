"""Which frames are sampled for a clip: index arithmetic on presentation times, without a video.

All of it is exact. Times are integers (ticks of the stream's time base) and targets are computed with Python's
unbounded integers: nothing overflows, and no frame rate is rounded.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from pipeline.video.options import PROMPTS, Keep


def kept(num_candidates: int, max_frames: int, keep: Keep) -> NDArray[np.int64]:
    """Which candidates are kept if there are too many: the first, the last, or some spread over all as in CLIP4Clip.

    Args:
        num_candidates: At least 0.
        max_frames: At least 1.
        keep: Which candidates are kept.

    Returns:
        Shape (min(num_candidates, max_frames),), increasing.

    >>> kept(7, 3, Keep.UNIFORM).tolist(), kept(7, 3, Keep.HEAD).tolist(), kept(7, 3, Keep.TAIL).tolist()
    ([0, 3, 6], [0, 1, 2], [4, 5, 6])
    >>> kept(2, 3, Keep.UNIFORM).tolist()
    [0, 1]
    """
    if num_candidates <= max_frames:
        return np.arange(num_candidates, dtype=np.int64)
    if keep is Keep.HEAD:
        return np.arange(max_frames, dtype=np.int64)
    if keep is Keep.TAIL:
        return np.arange(num_candidates - max_frames, num_candidates, dtype=np.int64)
    return np.linspace(0, num_candidates - 1, num=max_frames, dtype=int).astype(np.int64)  # truncates, as CLIP4Clip


def fps_targets(start_pts: int, end_pts: int, interval: Fraction, max_frames: int, keep: Keep) -> NDArray[np.int64]:
    """The ticks at which a constant rate samples `[start_pts, end_pts)`: its start, and every interval after it.

    Args:
        start_pts: In ticks.
        end_pts: Later than `start_pts`.
        interval: Ticks between two samples; may be fractional.
        max_frames: At least 1.
        keep: Which samples are kept if there are more than `max_frames`.

    Returns:
        Shape (n,), rounded down: a frame is shown at a time if it is shown at the tick before it.

    >>> fps_targets(0, 10, Fraction(5, 2), 12, Keep.UNIFORM).tolist()
    [0, 2, 5, 7]
    >>> fps_targets(0, 10, Fraction(5, 2), 2, Keep.UNIFORM).tolist()
    [0, 7]
    """
    if end_pts <= start_pts or interval <= 0:
        raise ValueError(f"no rate over [{start_pts}, {end_pts}) at an interval of {interval}")
    num_candidates = -((start_pts - end_pts) // interval)  # ceil(span / interval), without a float
    numbers = kept(num_candidates, max_frames, keep).tolist()
    return np.array([start_pts + number * interval.numerator // interval.denominator for number in numbers], np.int64)


def clip4clip_indices(
    num_frames: int, rate: Fraction, start_seconds: float, end_seconds: float | None
) -> NDArray[np.int64]:
    """The frames that CLIP4Clip's `rawvideo_util.py` reads at one frame a second, before `kept` chooses among them.

    For videos with a constant rate. It cuts the rate to an integer (29.97 becomes 29) and takes frame `second * rate`
    for each second. The second at which a clip ends is included if it has a frame.

    Args:
        num_frames: Of the video.
        rate: Frames a second, as OpenCV's `CAP_PROP_FPS` reports it.
        start_seconds: Of the clip, cut to an integer (CLIP4Clip has integers).
        end_seconds: Of the clip, rounded up to an integer; None for the whole video.

    Returns:
        Shape (n,), increasing, each below `num_frames`.

    Raises:
        ValueError: A rate below one: CLIP4Clip divides by 0 there.

    >>> clip4clip_indices(75, Fraction(30000, 1001), 0, None).tolist()
    [0, 29, 58]
    >>> clip4clip_indices(300, Fraction(25), 3, 5).tolist()
    [75, 100, 125]
    """
    whole_rate = int(rate)
    if whole_rate < 1:
        raise ValueError(f"a rate of {float(rate):g} frames a second, which CLIP4Clip cuts to 0")
    total_seconds = (num_frames + whole_rate - 1) // whole_rate
    last = total_seconds if end_seconds is None else min(math.ceil(end_seconds), total_seconds)
    indices = whole_rate * np.arange(int(start_seconds), last + 1, dtype=np.int64)
    return indices[indices < num_frames]


def prompt_switch_indices(num_video_frames: int, num_frames: int) -> NDArray[np.int64]:
    """The frames that Prompt Switch and FDA-CLIP's code test on, in their order, which is not that of time.

    The frame numbers are cut into `PROMPTS` spans, each from `a` to `b`, the last of it. With `n` frames a span, frame
    `i` of each is `(b - a) // (n + 1) * (i + 1) + a`; frames 0 of all spans come first, then frames 1, and so on. A
    video of fewer frames than spans has a span for each, and the last frame is repeated.

    Args:
        num_video_frames: At least 1.
        num_frames: A multiple of `PROMPTS`.

    Returns:
        Shape (num_frames,), each in `[0, num_video_frames)`.

    >>> prompt_switch_indices(60, 12).tolist()
    [3, 13, 23, 33, 43, 53, 6, 16, 26, 36, 46, 56]
    >>> prompt_switch_indices(4, 12).tolist()
    [0, 1, 2, 3, 0, 1, 2, 3, 3, 3, 3, 3]
    """
    num_spans, of_each = min(PROMPTS, num_video_frames), num_frames // PROMPTS
    edges = np.linspace(0, num_video_frames, num_spans + 1).astype(np.int64)
    first, last = edges[:-1], edges[1:] - 1
    indices = np.concatenate([(last - first) // (of_each + 1) * (i + 1) + first for i in range(of_each)])
    return np.append(indices, np.full(num_frames - len(indices), indices[-1]))


def uniform_targets(start_pts: int, end_pts: int, num_frames: int) -> NDArray[np.int64]:
    """The centres of `num_frames` equal spans of the clip `[start_pts, end_pts)`, rounded down to a tick.

    Rounding loses nothing: frame times are whole ticks, so a frame is at or before a centre exactly if it is at or
    before the centre rounded down.

    Args:
        start_pts: Time at which the clip starts, in ticks.
        end_pts: One past its last tick; later than `start_pts`.
        num_frames: How many targets, at least 1.

    Returns:
        Shape (num_frames,), non-decreasing, each in `[start_pts, end_pts)`.

    Raises:
        ValueError: An empty clip, or `num_frames` below 1.

    Ten ticks in two spans, `[0, 5)` and `[5, 10)`, whose centres are 2.5 and 7.5:

    >>> uniform_targets(0, 10, 2).tolist()
    [2, 7]

    Nine frames of one tick and three spans: the middle frame of each third, as at any constant rate.

    >>> shown_at(np.arange(9), uniform_targets(0, 9, 3)).tolist()
    [1, 4, 7]

    Fewer frames than targets, and a last frame that is held for long:

    >>> shown_at(np.array([0, 10]), uniform_targets(0, 20, 4)).tolist()
    [0, 0, 1, 1]
    """
    if num_frames < 1:
        raise ValueError(f"num_frames must be at least 1, got {num_frames}")
    if end_pts <= start_pts:
        raise ValueError(f"a clip must end after it starts, got [{start_pts}, {end_pts})")
    span = end_pts - start_pts
    # Centre i is start + (i + 1/2) * span / num_frames, in Python's integers.
    targets = [start_pts + (2 * i + 1) * span // (2 * num_frames) for i in range(num_frames)]
    return np.array(targets, dtype=np.int64)


def shown_at(pts: NDArray[np.int64], targets: NDArray[np.int64]) -> NDArray[np.int64]:
    """The frames shown at some times: for each time, the last frame that is presented at or before it.

    Args:
        pts: Shape (N,), N >= 1: presentation times in ticks, strictly increasing.
        targets: Shape (n,): times in ticks, none before the first frame.

    Returns:
        Shape (n,): positions in `pts`.

    Raises:
        ValueError: No frames, times that do not increase, or a target before the first.

    >>> shown_at(np.array([0, 10, 20]), np.array([0, 9, 10, 500])).tolist()
    [0, 0, 1, 2]
    """
    if pts.ndim != 1 or pts.size == 0:
        raise ValueError(f"pts must be a vector of at least one time, got shape {pts.shape}")
    if not bool(np.all(pts[1:] > pts[:-1])):  # a comparison cannot overflow, a difference can
        raise ValueError("pts must be strictly increasing")
    if targets.size and int(targets.min()) < int(pts[0]):
        raise ValueError(f"the first frame is shown at {int(pts[0])}, nothing is at {int(targets.min())}")
    return np.searchsorted(pts, targets, side="right").astype(np.int64) - 1
