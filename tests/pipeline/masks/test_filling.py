from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.measure import label

from pipeline.masks.filling import connected_to, fill_outlines
from tests.reference_backgrounds import without_holes

pictures = st.tuples(
    st.integers(1, 24), st.integers(1, 24), st.integers(0, 2**32 - 1), st.sampled_from([0.1, 0.5, 0.7])
)


@settings(max_examples=80, deadline=None)
@given(pictures)
def test_what_an_outline_encloses_is_filled(drawn: tuple[int, int, int, float]) -> None:
    height, width, seed, share = drawn
    mask = (np.random.default_rng(seed).random((height, width)) < share).astype(np.uint8)
    expected = without_holes(mask > 0)
    num_components = fill_outlines(mask)
    np.testing.assert_array_equal(mask > 0, expected)
    assert num_components == label(expected, connectivity=2).max()


@settings(max_examples=80, deadline=None)
@given(pictures)
def test_weak_pixels_count_where_they_touch_strong_ones(drawn: tuple[int, int, int, float]) -> None:
    height, width, seed, share = drawn
    rng = np.random.default_rng(seed)
    weak, strong = ((rng.random((height, width)) < part).astype(np.uint8) for part in (share, 0.05))
    found, num_components = connected_to(weak, strong)
    labels = label((weak | strong) > 0, connectivity=2)
    expected = np.isin(labels, np.unique(labels[strong > 0])) if strong.any() else np.zeros_like(labels, dtype=bool)
    np.testing.assert_array_equal(found > 0, expected)
    assert num_components == label(expected, connectivity=2).max()
