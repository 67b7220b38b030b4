"""Masks over frames: binary and soft ones."""

from __future__ import annotations

import numpy as np
from skimage.segmentation import find_boundaries

from pipeline.pages.pictures import GAP, OUTLINE, evenly, filmstrip, highlighted, outlined, shrunk


def frame_and_mask() -> tuple[np.ndarray, np.ndarray]:
    frame = np.random.default_rng(0).integers(1, 200, (24, 24, 3), dtype=np.uint8)
    mask = np.zeros((24, 24), bool)
    mask[6:18, 6:18] = True
    return frame, mask


def test_edges_are_those_of_scikit_image() -> None:
    rng = np.random.default_rng(0)
    for height, width in ((1, 1), (1, 9), (9, 1), (13, 17), (13, 17)):
        frame = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        for share in (0.05, 0.5, 0.95):
            mask = rng.random((height, width)) < share
            expected = frame.copy()
            expected[find_boundaries(mask, mode="thick")] = OUTLINE
            np.testing.assert_array_equal(outlined(frame, mask), expected)


def test_a_strip_has_the_frames_above_and_what_moves_below() -> None:
    rng = np.random.default_rng(0)
    frames, masks = rng.integers(0, 256, (5, 24, 24, 3), dtype=np.uint8), rng.random((5, 24, 24)) < 0.5
    chosen = evenly(5, 3)
    lit = [highlighted(frames[number], masks[number]) for number in chosen]
    strip, side = filmstrip(frames, masks, num_shown=3, side=16), 16
    assert strip.shape == (2 * side + 3 * GAP, 3 * side + 4 * GAP, 3)
    for row, pictures in enumerate(([*frames[chosen]], lit)):
        for column, picture in enumerate(pictures):
            top, left = GAP + row * (side + GAP), GAP + column * (side + GAP)
            cell = strip[top : top + side, left : left + side]
            np.testing.assert_array_equal(cell, shrunk(picture, side))
            strip[top : top + side, left : left + side] = 255
    assert (strip == 255).all()


def test_what_rests_is_dimmed_to_a_third_and_what_moves_is_as_it_was() -> None:
    frame, mask = frame_and_mask()
    lit = highlighted(frame, mask)
    is_edge = (lit == OUTLINE).all(axis=-1)
    assert is_edge.any()
    np.testing.assert_array_equal(lit[mask & ~is_edge], frame[mask & ~is_edge])
    np.testing.assert_array_equal(lit[~mask & ~is_edge], frame[~mask & ~is_edge] // 3)


def test_soft_masks_of_0_and_255_draw_the_picture_of_binary_ones() -> None:
    frame, mask = frame_and_mask()
    soft = np.where(mask, 255, 0).astype(np.uint8)
    for draw in (outlined, highlighted):
        np.testing.assert_array_equal(draw(frame, soft), draw(frame, mask))
    np.testing.assert_array_equal(filmstrip(frame[None], soft[None]), filmstrip(frame[None], mask[None]))


def test_a_soft_mask_lights_by_how_likely_a_pixel_moves_and_is_outlined_at_one_half() -> None:
    frame = np.full((24, 24, 3), 180, np.uint8)
    mask = np.repeat(np.array([0, 51, 102, 127, 128, 255], np.uint8), 4)[None].repeat(24, axis=0)
    lit = highlighted(frame, mask)
    is_edge = (lit == OUTLINE).all(axis=-1)
    assert sorted(set(np.nonzero(is_edge)[1].tolist())) == [15, 16]  # between 127 and 128
    assert lit[5, 1::4, 0].tolist() == [60, 84, 108, 119, 120, 180]
