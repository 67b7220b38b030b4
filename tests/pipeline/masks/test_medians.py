from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.masks.backdrop import Backdrop
from pipeline.masks.medians import fill_unseen, middles
from tests.reference_backgrounds import outside


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(0, 2**32 - 1), st.sampled_from([2, 256]))
def test_the_two_in_the_middle_are_those_of_sorting(count: int, seed: int, levels: int) -> None:
    pictures = np.random.default_rng(seed).integers(0, levels, (count, 5, 7)).astype(np.uint8)
    ordered = np.sort(pictures, axis=0)
    lower, upper = middles(list(pictures))
    np.testing.assert_array_equal(lower, ordered[(count - 1) // 2])
    np.testing.assert_array_equal(upper, ordered[min((count + 1) // 2, count - 1)])


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 14), st.integers(0, 2**32 - 1), st.sampled_from([0.2, 0.6, 0.95]))
def test_pixels_that_a_picture_does_not_show_take_no_part(count: int, seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    pictures = rng.integers(0, 256, (count, 5, 7)).astype(np.uint8)
    seen = rng.random(pictures.shape) < share
    filled = list(pictures.copy())
    shown = fill_unseen(filled, list(seen))
    lower, upper = middles(filled)
    np.testing.assert_array_equal(shown, seen.sum(axis=0))
    for y, x in np.ndindex(5, 7):
        values = np.sort(pictures[seen[:, y, x], y, x])
        if len(values):
            assert lower[y, x] == values[(len(values) - 1) // 2]
        if len(values) > 1:
            assert upper[y, x] == values[(len(values) - 1) // 2 + 1]


def shifted(shifts: list[tuple[int, int]]) -> np.ndarray[tuple[int, int, int], np.dtype[np.float64]]:
    motions = np.tile(np.eye(3), (len(shifts), 1, 1))
    motions[:, :2, 2] = shifts
    return motions


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(-6, 6), st.integers(-6, 6)), min_size=2, max_size=7), st.integers(0, 2**32 - 1))
def test_a_backdrop_of_shifted_pictures_is_the_median_of_those_that_show_a_pixel(
    shifts: list[tuple[int, int]], seed: int
) -> None:
    """By looking each pixel up in each picture, one by one."""
    height, width = 11, 13
    pictures = np.random.default_rng(seed).integers(0, 256, (len(shifts), height, width)).astype(np.uint8)
    backdrop = Backdrop(list(pictures), shifted(shifts))
    for number, (dx, dy) in enumerate(shifts):
        behind = backdrop.behind(number)
        expected = np.zeros((height, width), np.uint8)
        count = np.zeros((height, width), np.int64)
        for y, x in np.ndindex(height, width):
            places = [(y - dy + other_y, x - dx + other_x) for other_x, other_y in shifts]
            values = [
                int(picture[place])
                for picture, place in zip(pictures, places, strict=True)
                if 0 <= place[0] < height and 0 <= place[1] < width
            ]
            count[y, x], expected[y, x] = len(values), sorted(values)[(len(values) - 1) // 2]
        enough = count >= 3
        np.testing.assert_array_equal(behind.background[enough], expected[enough])
        np.testing.assert_array_equal(count > 1, np.ones_like(enough) if behind.is_seen is None else behind.is_seen)
        difference = behind.difference(pictures[number])
        inner = cv2.erode(enough.astype(np.uint8), np.ones((3, 3))) > 0
        np.testing.assert_array_equal(difference[inner], outside(pictures[number], expected)[inner])
        assert not difference[count == 1].any()


@pytest.mark.parametrize("motions", [None, shifted([(0, 0), (0, 0)])])
def test_of_two_pictures_each_is_the_background_of_the_other(motions: None) -> None:
    pictures = np.full((2, 12, 12), 100, np.uint8)
    pictures[0, 2:5, 2:5], pictures[1, 7:10, 7:10] = 200, 20
    backdrop = Backdrop(list(pictures), motions)
    first, second = (backdrop.behind(number).difference(pictures[number]) for number in range(2))
    both = np.zeros((12, 12), np.uint8)
    both[2:5, 2:5], both[7:10, 7:10] = 100, 80
    for found in (first, second):  # at the edges, the 3 x 3 pixels around have both levels
        assert set(np.unique(found)) <= {0, 80, 100}
        assert found[3, 3] == 100
        assert found[8, 8] == 80
    np.testing.assert_array_equal(first[2:5, 2:5], both[2:5, 2:5])
