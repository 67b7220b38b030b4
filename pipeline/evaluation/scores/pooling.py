"""Pool cached features of frames into features of videos: `encoders.model.pool`, in NumPy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.evaluation.names import POOLINGS
from pipeline.evaluation.scores.dot import check_embeddings


def pool_frames(frame: NDArray[np.float32], pooling: str) -> NDArray[np.float32]:
    """Average frames into videos of unit norm.

    Args:
        frame: Shape (num_videos, num_frames, dim), not normalised; NaN for a frame that the video does not have.
        pooling: One of `POOLINGS`.

    Returns:
        Shape (num_videos, dim).

    Raises:
        ValueError: There is no such pooling, a frame cannot be scored (some NaN, infinite, all zero), or a video has no
            frame.
    """
    if pooling not in POOLINGS:
        raise ValueError(f"pooling must be {' or '.join(POOLINGS)}, got {pooling!r}")
    is_frame: NDArray[np.bool_] = np.logical_not(np.isnan(frame).all(axis=2))
    if not is_frame.any(axis=1).all():
        raise InputError(f"video {int(is_frame.any(axis=1).argmin())} of {len(frame)} has no frame")
    features = frame.astype(np.float32)
    check_embeddings("frame", features[is_frame])
    if pooling == "unit-mean":
        features /= np.linalg.norm(features, axis=2, keepdims=True)
    video = features.mean(axis=1, where=is_frame[:, :, None])  # (v, f, dim) -> (v, dim)
    pooled: NDArray[np.float32] = video / np.linalg.norm(video, axis=1, keepdims=True)
    return pooled
