"""A change of the light between a picture and its background: one gain and one offset for all pixels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.masks.medians import Picture

_STEP = 4
"""Every fourth pixel of every fourth row is enough to fit two numbers."""
_UNLIKE = 3.0
"""Grey levels: if half of the pixels differ by no more, the light is the same, and nothing is changed."""
_ROUNDS = 8
_WITHIN = 2.0
"""Medians of the distance from the fit, within which a pixel takes part in the next round: what moves does not."""
_MOST_GAIN = 2.0
_FLAT = 20.0
"""Variance, squared grey levels: a background with less tells no gain, only an offset."""


def light_change(background: Picture, picture: Picture) -> tuple[float, float] | None:
    """The gain and offset by which a background becomes a picture: `picture = gain * background + offset`.

    Least squares over the pixels that fit, in turns with choosing these.

    Args:
        background: Shape (height, width).
        picture: Shape (height, width).

    Returns:
        None if the light is the same, or if no change of it explains the difference.
    """
    x = background[::_STEP, ::_STEP].ravel().astype(np.float32)
    y = picture[::_STEP, ::_STEP].ravel().astype(np.float32)
    if float(np.median(np.abs(y - x))) <= _UNLIKE:
        return None
    gain, offset = 1.0, float(np.median(y - x))
    for _ in range(_ROUNDS):
        distance = np.abs(y - gain * x - offset)
        fits = distance <= max(2.0, _WITHIN * float(np.median(distance)))
        x_mean, y_mean = float(x[fits].mean()), float(y[fits].mean())
        variance = float(((x[fits] - x_mean) ** 2).mean())
        gain = float(((x[fits] - x_mean) * (y[fits] - y_mean)).mean()) / variance if variance >= _FLAT else 1.0
        offset = y_mean - gain * x_mean
    return (gain, offset) if 1 / _MOST_GAIN < gain < _MOST_GAIN else None


def levels_after(gain: float, offset: float, middle: float = 0.0) -> NDArray[np.uint8]:
    """What each level becomes: `gain * (level - middle) + middle + offset`, shape (256,).

    >>> levels_after(2.0, 1.0)[[0, 10, 200]].tolist()
    [1, 21, 255]
    """
    levels = gain * (np.arange(256) - middle) + middle + offset
    return np.clip(np.round(levels), 0, 255).astype(np.uint8)
