from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.video.sampling import shown_at, uniform_targets

_BIG = 2**61


def uniform_indices(pts: NDArray[np.int64], end_pts: int, num_frames: int) -> NDArray[np.int64]:
    return shown_at(pts, uniform_targets(int(pts[0]), end_pts, num_frames))


@st.composite
def timelines(draw: st.DrawFn, limit: int = _BIG) -> tuple[NDArray[np.int64], int]:
    """Strictly increasing times, negative ones and huge gaps among them, and an end after the last."""
    times = sorted(draw(st.sets(st.integers(-limit, limit), min_size=1, max_size=40)))
    end = draw(st.integers(times[-1] + 1, limit + 100))
    return np.array(times, dtype=np.int64), end


def brute_force(pts: NDArray[np.int64], end_pts: int, num_frames: int) -> list[int]:
    """The definition, in fractions: the last frame at or before the centre of each span."""
    start, span = int(pts[0]), end_pts - int(pts[0])
    centres = [start + (i + Fraction(1, 2)) * span / num_frames for i in range(num_frames)]
    return [max(k for k, time in enumerate(pts.tolist()) if time <= centre) for centre in centres]


@given(timelines(), st.integers(1, 70))
def test_uniform_indices_is_the_definition(timeline: tuple[NDArray[np.int64], int], num_frames: int) -> None:
    pts, end = timeline
    chosen = uniform_indices(pts, end, num_frames)
    assert chosen.dtype == np.int64
    assert chosen.tolist() == brute_force(pts, end, num_frames)
    assert chosen.min() >= 0
    assert chosen.max() < len(pts)
    assert bool(np.all(np.diff(chosen) >= 0))


@given(st.integers(1, 5000), st.integers(1, 100), st.integers(1, 4000), st.integers(-(2**40), 2**40))
def test_a_constant_rate_gives_the_closed_form(total: int, num_frames: int, interval: int, start: int) -> None:
    pts = start + interval * np.arange(total, dtype=np.int64)
    expected = [(2 * i + 1) * total // (2 * num_frames) for i in range(num_frames)]
    assert uniform_indices(pts, start + interval * total, num_frames).tolist() == expected


@given(timelines(2**30), st.integers(1, 40), st.integers(-(2**30), 2**30), st.integers(1, 2**20))
def test_shifting_and_scaling_time_changes_nothing(
    timeline: tuple[NDArray[np.int64], int], num_frames: int, shift: int, scale: int
) -> None:
    pts, end = timeline
    moved = uniform_indices(pts * scale + shift, end * scale + shift, num_frames)
    assert moved.tolist() == uniform_indices(pts, end, num_frames).tolist()


@given(timelines(2**30), st.integers(1, 40))
def test_playing_backwards_chooses_the_same_frames(timeline: tuple[NDArray[np.int64], int], num_frames: int) -> None:
    pts, end = timeline
    starts = [*pts.tolist(), end]
    span = end - starts[0]
    centres = [starts[0] + (i + Fraction(1, 2)) * span / num_frames for i in range(num_frames)]
    assume(not set(centres) & {Fraction(time) for time in starts})  # a centre on a cut belongs to the later frame
    backwards = np.array([-time for time in reversed(starts[1:])], dtype=np.int64)
    mirrored = len(pts) - 1 - uniform_indices(backwards, -starts[0], num_frames)[::-1]
    assert mirrored.tolist() == uniform_indices(pts, end, num_frames).tolist()


@given(st.integers(1, 200), st.integers(1, 50))
def test_as_many_targets_as_frames_takes_each_once(total: int, interval: int) -> None:
    pts = interval * np.arange(total, dtype=np.int64)
    assert uniform_indices(pts, interval * total, total).tolist() == list(range(total))


@given(st.integers(-_BIG, _BIG), st.integers(1, _BIG), st.integers(1, 100))
def test_targets_lie_in_the_clip_and_are_symmetric(start: int, span: int, num_frames: int) -> None:
    targets = uniform_targets(start, start + span, num_frames).tolist()
    assert all(start <= target < start + span for target in targets)
    for first, last in zip(targets, reversed(targets), strict=True):
        assert 2 * start + span - (first + last) in {0, 1, 2}  # each is rounded down by less than a tick


def test_a_long_held_frame_is_repeated() -> None:
    assert uniform_indices(np.array([0, 1, 2, 90]), 100, 5).tolist() == [2, 2, 2, 2, 3]


@pytest.mark.parametrize(
    ("pts", "end", "num_frames", "message"),
    [
        ([0, 0], 1, 1, "strictly increasing"),
        ([1, 0], 2, 1, "strictly increasing"),
        ([-(2**62), 2**62, -(2**62)], 2, 1, "strictly increasing"),
        ([0, 5], 0, 1, r"got \[0, 0\)"),
        ([0, 5], 6, 0, "num_frames must be at least 1, got 0"),
    ],
)
def test_wrong_arguments_are_named(pts: list[int], end: int, num_frames: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        uniform_indices(np.array(pts, dtype=np.int64), end, num_frames)


def test_nothing_is_shown_before_the_first_frame_or_without_frames() -> None:
    with pytest.raises(ValueError, match="nothing is at 2"):
        shown_at(np.array([3, 4]), np.array([5, 2]))
    with pytest.raises(ValueError, match="at least one time"):
        shown_at(np.array([], dtype=np.int64), np.array([5]))


def test_an_empty_clip_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\[3, 3\)"):
        uniform_targets(3, 3, 1)
