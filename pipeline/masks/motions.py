"""Where the camera was in each frame of a shot: the motions from frame to frame, one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.masks.registration import camera_view
from pipeline.masks.shots import Shot
from pipeline.video.grey import Grey

Motions = NDArray[np.float64]
"""Shape (num_frames, 3, 3), homographies: a pixel (x, y) of a view is at `motion @ (x, y, 1)` in each frame."""

_MOST_AREA = 4.0
"""Times the area of a frame: a run covers no larger view, so that its background takes no more time and memory."""
_MOVED = 1.0
"""Pixels of 224: a frame whose corners lie further from where they were in the middle frame has moved."""


@dataclass(frozen=True, slots=True)
class Run:
    """Frames of a shot, one after the other, whose camera motion is known."""

    start: int
    """The first frame, of the clip."""
    motions: Motions
    """Relative to the view of the middle frame."""

    @property
    def stop(self) -> int:
        """The frame after the last."""
        return self.start + len(self.motions)


@dataclass(frozen=True, slots=True)
class CameraPath:
    """The runs of a clip."""

    runs: tuple[Run, ...]
    """In order; each frame is in one of them."""
    num_unregistered: int
    """Pairs of frames whose motion was looked for and not found."""
    moved_share: float
    """Of all frames, those that the camera took from elsewhere than the middle frame of their shot, 0..1."""


def camera_path(greys: Sequence[Grey], shots: Sequence[Shot], rests: Sequence[bool]) -> CameraPath:
    """Find where the camera was.

    A pair of frames whose motion cannot be found divides a run, unless the border of the picture says that the camera
    rests: a face that fills the picture hides the ground, and says nothing of the camera.

    Args:
        greys: The frames, each of shape (height, width).
        shots: Of the clip, in order; no run goes across two of them.
        rests: For each frame but the last, whether the border of the picture is the same in the next.
    """
    height, width = greys[0].shape
    runs: list[Run] = []
    num_unregistered = num_moved = 0
    for shot in shots:
        steps: list[NDArray[np.float64]] = [np.eye(3)]
        start = shot.start
        of_shot: list[Run] = []
        for number in range(shot.start, shot.stop - 1):
            step = camera_view(greys[number], greys[number + 1])
            num_unregistered += step is None
            # From the first frame of the run to this one. A pair that is at rest but was not found adds no motion.
            last = steps[-1] if step is None else step @ steps[-1]
            is_known = step is not None or rests[number]
            if is_known and _area([*steps, last], width, height) <= _MOST_AREA:
                steps.append(last)
                continue
            of_shot.append(_run(start, steps))
            # Either the motion is not known, or the common view has become too large: the next frame begins a run.
            start, steps = number + 1, [np.eye(3)]
        of_shot.append(_run(start, steps))
        num_moved += _num_moved(of_shot, shot, width, height)
        runs += of_shot
    return CameraPath(tuple(runs), num_unregistered, num_moved / len(greys))


def moved_corners(motions: Motions, width: int, height: int) -> NDArray[np.float64]:
    """Where the corners of a picture go by each motion, shape (num_motions, 4, 2).

    >>> moved_corners(np.eye(3)[None], 4, 3)[0].tolist()
    [[0.0, 0.0], [3.0, 0.0], [3.0, 2.0], [0.0, 2.0]]
    """
    corners = np.array([[0.0, 0.0, 1.0], [width - 1, 0, 1], [width - 1, height - 1, 1], [0, height - 1, 1]])
    moved: NDArray[np.float64] = np.einsum("nij,cj->nci", motions, corners)
    return moved[..., :2] / moved[..., 2:]


def _run(start: int, steps: Sequence[NDArray[np.float64]]) -> Run:
    motions = np.stack(steps)
    # From "relative to the first frame" to "relative to the middle one", where the view of all is smallest.
    return Run(start, motions @ np.linalg.inv(motions[len(motions) // 2]))


def _area(motions: Sequence[NDArray[np.float64]], width: int, height: int) -> float:
    """Of the view that frames cover together, times that of a frame; measured in the first."""
    corners = moved_corners(np.linalg.inv(np.stack(motions)), width, height)
    sides = corners.max(axis=(0, 1)) - corners.min(axis=(0, 1))
    return float(np.prod(sides + 1) / (width * height))


def _num_moved(runs: Sequence[Run], shot: Shot, width: int, height: int) -> int:
    middle = (shot.start + shot.stop) // 2
    num_moved = 0
    for run in runs:
        if not run.start <= middle < run.stop:
            num_moved += len(run.motions)
            continue
        relative = run.motions @ np.linalg.inv(run.motions[middle - run.start])
        aside = np.abs(moved_corners(relative, width, height) - moved_corners(np.eye(3)[None], width, height))
        num_moved += int((aside.max(axis=(1, 2)) > _MOVED * max(width, height) / 224).sum())
    return num_moved
