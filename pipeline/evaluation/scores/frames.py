"""Scores of texts and videos by the frames that match each text best, instead of by the mean of all frames."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.scores.backend import Array, Rows, index, namespace
from pipeline.evaluation.scores.dot import Put
from pipeline.evaluation.scores.tiles import TiledScores


class FrameScores(TiledScores):
    """The mean of a text's `k` highest inner products with the frames of a video, each frame of unit norm.

    If a video has fewer frames than `k`, it is the mean of all of them. With `k = 1` it is the score of the best frame;
    with all frames, the inner product with the mean of unit frames (`unit-mean` pooling makes that mean a unit vector
    again). X-Pool (arXiv 2203.15086) calls it top-k aggregation.
    """

    def __init__(
        self, text: NDArray[np.float32], frame: NDArray[np.float32], k: int, put: Put = lambda array: array
    ) -> None:
        """See `TiledScores`, with its errors; `k` is at least 1, or it is one more."""
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        super().__init__(text, frame, put)
        self._k = min(k, frame.shape[1])

    def _rule(self, products: Array, videos: Rows) -> Array:
        xp, num_frames = namespace(products), index(self._num_frames, videos)
        # Insertion into a sorted list of k arrays, whole arrays at a time: k is small, and the array API has no top-k.
        highest: list[Array] = []  # scores of the frames so far, in falling order
        for number in range(products.shape[2]):
            scores = xp.where(num_frames > number, products[:, :, number], -xp.inf)
            for place, other in enumerate(highest):
                highest[place], scores = xp.maximum(other, scores), xp.minimum(other, scores)
            if len(highest) < self._k:
                highest.append(scores)
        total = highest[0]
        for place, scores in enumerate(highest[1:], 1):
            # Of a video with fewer frames the places after them hold -inf.
            total = total + xp.where(num_frames > place, scores, 0.0)
        return total / xp.astype(xp.clip(num_frames, max=self._k), xp.float32)
