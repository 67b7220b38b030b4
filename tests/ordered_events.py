"""Videos of two events, whose caption says which came first: no average of frames knows that."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tests.frame_stores import Arrays

NUM_KINDS, DIM = 4, 16


def ordered_events(seed: int, num_videos: int, num_frames: int = 6) -> Arrays:
    """Texts and frames of videos; there are twelve orders of two events out of four."""
    rng = np.random.default_rng(seed)
    first = rng.integers(0, NUM_KINDS, num_videos)
    second = (first + rng.integers(1, NUM_KINDS, num_videos)) % NUM_KINDS
    kinds = np.eye(DIM)[:NUM_KINDS]
    frame: NDArray[np.float64] = np.empty((num_videos, num_frames, DIM))
    for row in range(num_videos):
        change = rng.integers(2, num_frames - 1)
        frame[row, :change], frame[row, change:] = kinds[first[row]], kinds[second[row]]
    frame += 0.1 * rng.standard_normal(frame.shape)
    # What tells the videos of one order apart, to which frames and captions both point.
    own = 0.5 * np.eye(DIM)[NUM_KINDS + rng.integers(0, DIM - NUM_KINDS - NUM_KINDS, num_videos)]
    frame += own[:, None]
    text = (
        np.eye(DIM)[first] + np.eye(DIM)[DIM - NUM_KINDS + second] + own + 0.05 * rng.standard_normal((num_videos, DIM))
    )
    text /= np.linalg.norm(text, axis=1, keepdims=True)
    return text.astype(np.float32), frame.astype(np.float32)
