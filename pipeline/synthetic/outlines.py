"""The shapes of the generated world, as outlines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from pipeline.synthetic.objects import SHAPE_NAMES

Points: TypeAlias = NDArray[np.float64]


def _polygon(num_corners: int, inner_radius: float = 1.0) -> Points:
    """Corners of a polygon, shape (num_corners, 2), the first one up; every second one at `inner_radius`."""
    angles = 2 * np.pi * np.arange(num_corners) / num_corners - np.pi / 2
    radii = np.where(np.arange(num_corners) % 2, inner_radius, 1.0)
    return np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1)


def _cross(arm: float) -> Points:
    """A plus sign whose arms are `2 * arm` wide and reach from -1 to 1."""
    quarter = np.array([[arm, -1.0], [arm, -arm], [1.0, -arm]])
    turns = [np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]) for a in np.pi / 2 * np.arange(4)]
    return np.concatenate([quarter @ turn.T for turn in turns])


def _heart(num_corners: int) -> Points:
    """The usual curve, scaled to a radius of about 1."""
    t = 2 * np.pi * np.arange(num_corners) / num_corners
    x = 16 * np.sin(t) ** 3
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return np.stack([x, -y - 2.5], axis=1) / 16


SHAPES: Mapping[str, Points] = {
    "circle": 0.88 * _polygon(40),
    "square": 0.8 * np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]]),
    "triangle": 1.1 * _polygon(3) + np.array([0.0, 0.25]),
    "star": 1.1 * _polygon(10, inner_radius=0.42),
    "cross": _cross(0.34),
    "diamond": np.array([[0.0, -1.1], [0.62, 0.0], [0.0, 1.1], [-0.62, 0.0]]),
    "heart": _heart(48),
    "arrow": np.array([[-1.0, -0.3], [0.1, -0.3], [0.1, -0.85], [1.0, 0.0], [0.1, 0.85], [0.1, 0.3], [-1.0, 0.3]]),
}
"""Corners around the origin, shape (num_corners, 2), at a radius of about 1."""

assert tuple(SHAPES) == SHAPE_NAMES
