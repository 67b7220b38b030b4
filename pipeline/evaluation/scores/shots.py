"""Shots, found in the features of frames: runs of frames that resemble each other, each with one vector."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.scores.tiles import unit_frames


def shot_features(frame: NDArray[np.float32], distance: float) -> NDArray[np.float32]:
    """The unit mean of the unit frames of each shot.

    A shot ends where a frame and the next one are further apart than `distance`, which is 1 less their cosine. With a
    distance of 2 a video is one shot, and its vector that of `unit-mean` pooling; below 0 each frame is a shot.

    Args:
        frame: Shape (num_videos, num_frames, dim), in order of time; all NaN for a frame that a video does not have.
        distance: Above which a new shot begins.

    Returns:
        Shape (num_videos, most shots of a video, dim); NaN for a shot that a video does not have.

    Raises:
        ValueError: As for `unit_frames`.

    >>> frame = np.array([[[1, 0], [2, 0], [0, 1]]], np.float32)
    >>> shot_features(frame, 0.5).tolist(), shot_features(frame, 2).shape
    ([[[1.0, 0.0], [0.0, 1.0]]], (1, 1, 2))
    """
    unit, num_frames = unit_frames(frame)
    is_frame = np.arange(unit.shape[1]) < num_frames[:, None]
    begins = np.zeros(unit.shape[:2], np.int64)  # (v, f)
    begins[:, 1:] = _distances(unit) > distance
    shot = np.cumsum(begins, axis=1)  # the number of the shot that each frame is in, from 0
    num_shots = np.where(is_frame, shot, 0).max(axis=1) + 1
    sums = np.zeros((len(unit), int(num_shots.max()), unit.shape[2]), np.float32)
    videos, places = np.nonzero(is_frame)
    # `add.at`, because a plain += adds only one of several frames of a shot.
    np.add.at(sums, (videos, shot[videos, places]), unit[videos, places])
    sums /= np.maximum(np.linalg.norm(sums, axis=2, keepdims=True), np.float32(1e-6))
    sums[np.arange(sums.shape[1]) >= num_shots[:, None]] = np.nan
    return sums


def neighbour_distances(frame: NDArray[np.float32]) -> NDArray[np.float32]:
    """How far each frame is from the next one of its video: 1 less their cosine, of all pairs, in one row.

    Args:
        frame: As for `shot_features`.
    """
    unit, num_frames = unit_frames(frame)
    is_pair = np.arange(1, unit.shape[1]) < num_frames[:, None]
    return _distances(unit)[is_pair]


def _distances(unit: NDArray[np.float32]) -> NDArray[np.float32]:
    distances: NDArray[np.float32] = 1 - np.einsum("vfd,vfd->vf", unit[:, :-1], unit[:, 1:])
    return distances
