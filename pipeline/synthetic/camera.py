"""How the camera moves: it sees ground and objects through one affine map a frame, exact to a fraction of a pixel."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from pipeline.synthetic.factors import Settings
from pipeline.synthetic.outlines import Points
from pipeline.synthetic.suites import Amount

PAN_REACH = 0.25
"""Heights from the middle at which a pan turns back: most objects stay in the picture."""
ZOOM_REACH = 0.3
"""Natural logarithm of the magnification at which a zoom turns back."""
SHAKE_HERTZ = (0.5, 4.0)
_NUM_WAVES = 5
_STILL = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])


def camera_path(
    rng: np.random.Generator, settings: Settings, num_frames: int, amount: Amount
) -> NDArray[np.float64] | None:
    """The map from the world to the picture at each frame.

    Args:
        rng: Of the camera alone.
        settings: Its pan, zoom and shake.
        num_frames: Of the shot.
        amount: Size and rate of the video.

    Returns:
        Shape (num_frames, 2, 3): x' = A[:, :2] @ x + A[:, 2], pixels. The world is the picture of a camera that does
        not move. None if it does not move.
    """
    direction, signs, starts = rng.uniform(0, 2 * np.pi), rng.choice([-1.0, 1.0], 2), rng.uniform(0, 4, 2)
    waves = rng.uniform(*SHAKE_HERTZ, (3, _NUM_WAVES)), rng.uniform(0, 2 * np.pi, (3, _NUM_WAVES))
    if not (settings.pan or settings.zoom or settings.shake):
        return None
    seconds = np.arange(num_frames) / amount.fps
    along = signs[0] * _there_and_back(seconds, settings.pan, PAN_REACH, float(starts[0]))
    magnified = np.exp(signs[1] * _there_and_back(seconds, settings.zoom, ZOOM_REACH, float(starts[1])))
    shaken = settings.shake * _trembling(seconds, *waves)
    shift = along[:, None] * np.array([math.cos(direction), math.sin(direction)]) + shaken[:, :2]
    cosine, sine = magnified * np.cos(shaken[:, 2]), magnified * np.sin(shaken[:, 2])
    linear = np.stack([np.stack([cosine, -sine], axis=1), np.stack([sine, cosine], axis=1)], axis=1)  # (t, 2, 2)
    centre = np.array([amount.width, amount.height]) / 2
    # x' = L (x - centre - shift) + centre: it turns and magnifies about the middle of the picture.
    offset = centre - np.einsum("tij,tj->ti", linear, centre + shift * amount.height)
    return np.concatenate([linear, offset[:, :, None]], axis=2)


def _there_and_back(seconds: NDArray[np.float64], rate: float, reach: float, start: float) -> NDArray[np.float64]:
    """Steady motion between -reach and reach. One that does not need to turn back is centred, so as to see its middle.

    >>> np.round(_there_and_back(np.array([0.0, 1.0, 2.0]), 0.1, 0.25, 3.0), 3).tolist()
    [-0.1, 0.0, 0.1]
    """
    length = rate * float(seconds[-1] - seconds[0])
    place = rate * seconds + (-length / 2 if length <= 2 * reach else start * reach)
    # A triangle between -reach and reach, of period 4 * reach.
    wave: NDArray[np.float64] = reach - np.abs((place + reach) % (4 * reach) - 2 * reach)
    return wave if length > 2 * reach else place


def _trembling(
    seconds: NDArray[np.float64], hertz: NDArray[np.float64], phases: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Three smooth random motions, shape (num_frames, 3), each with a root mean square of about 1."""
    waves = np.sin(2 * np.pi * seconds[:, None, None] * hertz + phases)
    # A sine has a mean square of 1/2, and squares of independent waves add up.
    total: NDArray[np.float64] = waves.sum(axis=2) * math.sqrt(2 / _NUM_WAVES)
    return total


def margin_of(path: NDArray[np.float64] | None, amount: Amount) -> int:
    """How far the ground must reach beyond the picture on each side, pixels, for all that the camera sees."""
    if path is None:
        return 0
    width, height = amount.width, amount.height
    corners = np.array([[0, 0], [width, 0], [0, height], [width, height]], np.float64)
    # (t, 4, 2): where the corners of the picture lie in the world. An affine map keeps the rest between them.
    seen = np.stack([(corners - frame[:, 2]) @ np.linalg.inv(frame[:, :2]).T for frame in path])
    beyond = max(float(-seen.min()), float((seen - np.array([width, height])).max()), 0.0)
    return math.ceil(beyond) + 4  # a cubic filter reaches 2 pixels


def seen_from(corners: Points, view: NDArray[np.float64] | None) -> Points:
    """Points of the world, shape (num_points, 2), as the camera sees them."""
    if view is None:
        return corners
    points: Points = corners @ view[:, :2].T + view[:, 2]
    return points


def ground_view(view: NDArray[np.float64], margin: int) -> NDArray[np.float64]:
    """The map from a ground that reaches `margin` pixels beyond the picture on each side, to the picture."""
    moved = view.copy()
    # The ground's pixel (margin, margin) is the world's (0, 0).
    moved[:, 2] -= view[:, :2] @ np.array([margin, margin])
    return moved


def path_or_still(path: NDArray[np.float64] | None, num_frames: int) -> NDArray[np.float64]:
    """The path in numbers also of a camera that does not move, shape (num_frames, 2, 3)."""
    return np.repeat(_STILL[None], num_frames, axis=0) if path is None else path
