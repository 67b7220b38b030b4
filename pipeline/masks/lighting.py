"""Pictures in changing light brought to one light: one gain and one offset for all pixels of a picture.

Without it, the median of each pixel would be that of the light first of all: where a thing hid the ground while it was
dark, the median of the ground is lighter than beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.masks.backdrop import ENOUGH, Backdrop
from pipeline.masks.medians import Picture
from pipeline.masks.motions import Motions

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
_GREY = 128.0
"""Of chroma: no colour."""


@dataclass(frozen=True, slots=True)
class EvenlyLit:
    """Pictures of a run in one light, and what is behind them."""

    lumas: tuple[Picture, ...]
    """Each of shape (height, width)."""
    backdrop: Backdrop
    gains: tuple[float, ...]
    """Of each picture, by which its light was undone."""

    def chroma(self, number: int, planes: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Chroma of one of the pictures in this light, of any shape: colours are stronger where there is more light."""
        gain = self.gains[number]
        return planes if gain == 1.0 else levels_after(1 / gain, 0.0, _GREY)[planes]


def evenly_lit(lumas: Sequence[Picture], motions: Motions | None = None) -> EvenlyLit:
    """Bring pictures to the light of their background, and find the background again if that changed any.

    Args:
        lumas: Each of shape (height, width).
        motions: Where the camera was, see `Run`; None if it rests.
    """
    backdrop = Backdrop(lumas, motions)
    changes = [light_change(backdrop.behind(number).background, luma) for number, luma in enumerate(lumas)]
    if len(lumas) < ENOUGH:  # each is the background of the other: one of them takes on the light of the other
        changes[0] = None
    lit = [
        luma if change is None else levels_after(1 / change[0], -change[1] / change[0])[luma]
        for luma, change in zip(lumas, changes, strict=True)
    ]
    if any(change is not None for change in changes):
        backdrop = Backdrop(lit, motions)
    return EvenlyLit(tuple(lit), backdrop, tuple(1.0 if change is None else change[0] for change in changes))


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
        # Covariance over variance: the slope of least squares.
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
