"""Features of frames -> features of videos, again and otherwise, in NumPy: what `encoders.model.pool` does."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

POOLINGS = ("mean", "unit-mean")
"""See `encoders.model.Pooling`."""


def pool_frames(frame: NDArray[np.float32], pooling: str) -> NDArray[np.float32]:
    """Average frames into videos of unit norm.

    Args:
        frame: Shape (num_videos, num_frames, dim), not normalised; NaN where a video has no frame.
        pooling: One of `POOLINGS`.

    Returns:
        Shape (num_videos, dim).

    Raises:
        ValueError: Another pooling.
    """
    if pooling not in POOLINGS:
        raise ValueError(f"pooling must be {' or '.join(POOLINGS)}, got {pooling!r}")
    features = frame.astype(np.float32)
    if pooling == "unit-mean":
        features /= np.linalg.norm(features, axis=2, keepdims=True)
    video = np.nanmean(features, axis=1)
    pooled: NDArray[np.float32] = video / np.linalg.norm(video, axis=1, keepdims=True)
    return pooled
