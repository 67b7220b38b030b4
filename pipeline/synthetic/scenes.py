"""Where the objects of a clip are, and how they are painted.

Each object has a cell of a square grid to itself and a circular orbit in it, all drawn from one distribution. A mover
runs along its orbit from a random phase; the others stay at a random phase of theirs. So at any time all objects have
the same distribution of place and size, whichever moves, and they never touch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.synthetic.factors import Settings
from pipeline.synthetic.objects import COLOURS, Kind
from pipeline.synthetic.outlines import SHAPES, Points
from pipeline.synthetic.suites import Amount

SIZE_SPREAD = 0.01
ORBIT, ORBIT_SPREAD = 0.08, 0.01
"""Heights; smaller where a cell is too small for it."""
SPEED_SPREAD = (0.7, 1.3)
_GAP = 0.01
"""Heights between an orbit and the edge of its cell."""
_USUAL_SIDE = 2
"""Cells a side of the grid for up to four objects. All lengths shrink in a finer one."""
_BITS = 4
"""Of a pixel: corners are exact to a sixteenth."""


@dataclass(frozen=True, slots=True)
class Scene:
    """The objects of one shot. Lengths in pixels, angles in radians; axis 0 counts objects."""

    centres: Points
    radii: Points
    orbits: Points
    phases: Points
    turn_per_frame: float

    def corners(self, index: int, kind: Kind, num_frames_moved: float) -> Points:
        """The outline of an object that has moved for some frames: shape (num_corners, 2), x and y."""
        angle = self.phases[index] + self.turn_per_frame * num_frames_moved
        centre = self.centres[index] + self.orbits[index] * np.array([np.cos(angle), np.sin(angle)])
        corners: Points = centre + self.radii[index] * SHAPES[kind[1]]
        return corners


def draw_scene(rng: np.random.Generator, settings: Settings, num_objects: int, amount: Amount) -> Scene:
    """Draw radii, orbits and places: every orbit lies in a cell of its own, in the central square of the picture."""
    side = max(_USUAL_SIDE, math.ceil(math.sqrt(num_objects)))
    cell, shrunk = 1 / side, _USUAL_SIDE / side
    # Large objects leave less room in their cells.
    orbit = min(ORBIT, _USUAL_ORBIT_ROOM - settings.size)
    radii = shrunk * rng.uniform(settings.size - SIZE_SPREAD, settings.size + SIZE_SPREAD, num_objects)
    orbits = shrunk * rng.uniform(orbit - ORBIT_SPREAD, orbit + ORBIT_SPREAD, num_objects)
    cells = rng.permutation(side * side)[:num_objects]
    slack = np.maximum(cell / 2 - _GAP - radii - orbits, 0.0)[:, None]
    # (num_objects, 2): column and row of the grid, as x and y in heights
    middles = np.stack([cells % side, cells // side], axis=1) * cell + cell / 2
    centres = middles + rng.uniform(-1.0, 1.0, (num_objects, 2)) * slack
    # The grid is a square in the middle of a wide picture, which a centre crop keeps.
    margin = np.array([(amount.width - amount.height) / 2, 0.0])
    low, high = SPEED_SPREAD
    rounds = rng.uniform(low * settings.speed, high * settings.speed) * rng.choice([-1.0, 1.0])
    rounds *= ORBIT / (shrunk * orbit)  # so that the speed of a mover is that of its factor on any orbit
    return Scene(
        centres=centres * amount.height + margin,
        radii=radii * amount.height,
        orbits=orbits * amount.height,
        phases=rng.uniform(0.0, 2 * np.pi, num_objects),
        turn_per_frame=rounds * 2 * np.pi / amount.fps,
    )


_USUAL_ORBIT_ROOM = 1 / _USUAL_SIDE / 2 - SIZE_SPREAD - ORBIT_SPREAD - _GAP / 2
"""What radius and orbit may take together in the usual grid, on average, heights."""


def paint(canvas: NDArray[np.uint8], corners: Points, colour: tuple[int, ...]) -> None:
    """Fill an outline, antialiased, in place."""
    # OpenCV takes whole numbers, of which `shift` says how many bits are the fraction.
    fixed = np.round(corners * (1 << _BITS)).astype(np.int32)
    cv2.fillPoly(canvas, [fixed], colour, lineType=cv2.LINE_AA, shift=_BITS)


def paint_object(canvas: NDArray[np.uint8], corners: Points, kind: Kind) -> None:
    """Paint an object in its colour, in place."""
    paint(canvas, corners, COLOURS[kind[0]])


def covered(shape: tuple[int, int], corners: Points) -> NDArray[np.bool_]:
    """The pixels of which an object covers at least half: shape `shape`."""
    canvas = np.zeros(shape, np.uint8)
    paint(canvas, corners, (255,))
    # Antialiased, a pixel's value is the covered share of it, of 255.
    is_covered: NDArray[np.bool_] = canvas >= 128
    return is_covered
