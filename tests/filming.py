"""A glittering disc in front of a textured ground, filmed by a camera that pans, zooms and turns."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from store.clips.layout import Masks

SIZE, NUM_FRAMES, OBJECT = 160, 4, 44


def ground(seed: int = 0) -> NDArray[np.uint8]:
    """A wide, textured view of which the camera sees a part: shape (400, 400, 3)."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(60, 196, (14, 14, 3)).astype(np.uint8)
    fine = rng.integers(-30, 30, (100, 100, 3)).astype(np.float32)
    smooth = cv2.resize(coarse, (400, 400), interpolation=cv2.INTER_CUBIC).astype(np.float32)
    whole = smooth + cv2.resize(fine, (400, 400), interpolation=cv2.INTER_CUBIC)
    return np.asarray(np.clip(whole, 0, 255), dtype=np.uint8)


def filmed(
    pan: float = 0.0,
    zoom: float = 1.0,
    turn: float = 0.0,
    step: int = 9,
    noise: float = 0.0,
    num_frames: int = NUM_FRAMES,
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """A glittering disc that runs over a textured ground, and a camera that moves by so much from frame to frame.

    Returns:
        Frames, shape (num_frames, 160, 160, 3), and where the disc is in each.
    """
    view, rng = ground(), np.random.default_rng(1)
    frames, discs = [], []
    for t in range(num_frames):
        angle, scale = np.deg2rad(turn * t), zoom**-t
        turned = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        centre = np.array([200 + pan * (t - num_frames / 2), 200.0])
        motion = np.column_stack([turned, centre - turned @ np.array([SIZE / 2, SIZE / 2])])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        frame = np.asarray(cv2.warpAffine(view, motion, (SIZE, SIZE), flags=flags), dtype=np.uint8)
        disc = np.zeros((SIZE, SIZE), np.uint8)
        cv2.circle(disc, (60 + step * t, 80), OBJECT // 2, 1, -1)
        blocks = rng.integers(0, 2, (SIZE // 4, SIZE // 4, 1)).astype(np.uint8) * 255
        frame[disc > 0] = blocks.repeat(4, axis=0).repeat(4, axis=1).repeat(3, axis=2)[disc > 0]
        noisy = frame + rng.normal(0, noise, frame.shape) if noise else frame
        frames.append(np.clip(noisy, 0, 255).astype(np.uint8))
        discs.append(disc > 0)
    return np.stack(frames), np.stack(discs)


def circling(
    num_frames: int = 12, radius: float = 10.0, size: int = 96, side: int = 24
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """A square that turns in a circle smaller than itself: it covers most of its way in most of the frames.

    Returns:
        Frames, shape (num_frames, size, size, 3), and where the square is in each.
    """
    view = cv2.GaussianBlur(ground()[:size, :size], (0, 0), 4)
    frames, squares = [], []
    for t in range(num_frames):
        angle = 2 * np.pi * t / num_frames
        top, left = (round((size - side) / 2 + radius * part) for part in (np.sin(angle), np.cos(angle)))
        frame, square = view.copy(), np.zeros((size, size), np.bool_)
        square[top : top + side, left : left + side] = True
        frame[square] = (30, 200, 40)
        frames.append(frame)
        squares.append(square)
    return np.stack(frames), np.stack(squares)


def right_and_wrong(masks: Masks, discs: NDArray[np.bool_], pan: float = 0.0) -> tuple[float, float]:
    """The share of the disc that the masks cover, and the share of the ground, far from it, that they cover too."""
    reach = 2 * (int(pan) + 8) + 1
    near = [cv2.dilate((disc | later).astype(np.uint8), np.ones((9, reach))) > 0 for disc, later in pairwise(discs)]
    return float(masks[:-1][discs[:-1]].mean()), float(masks[:-1][~np.stack(near)].mean())
