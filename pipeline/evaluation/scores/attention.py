"""Scores of texts and videos whose frames are weighted by how well each matches the text."""

from __future__ import annotations

import math

import array_api_compat
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.evaluation.scores.backend import Array, Rows, index, namespace
from pipeline.evaluation.scores.dot import Put
from pipeline.evaluation.scores.tiles import TiledScores

_LEAST_SQUARE = 1e-12
"""Of the norm of a weighted mean: frames that cancel each other out have no direction, and score 0."""


class AttentionScores(TiledScores):
    """The cosine of a text and the mean of a video's frames, weighted for this text.

    With unit frames `f_i` and unit text `t`: `s_i = <t, f_i>`, `w = softmax(s / temperature)`, `v = sum_i w_i f_i`, and
    the score is `<t, v> / |v|`. A high temperature weights all frames the same, which is `unit-mean` pooling; at a low
    one the best frame alone counts.

    Source: Bain et al. 2022 (arXiv 2205.08508, query-scoring). X-Pool (arXiv 2203.15086) learns projections for the
    products and the mean; here there are none.
    """

    def __init__(
        self,
        text: NDArray[np.float32],
        frame: NDArray[np.float32],
        temperature: float,
        put: Put = lambda array: array,
    ) -> None:
        """See `TiledScores`, with its errors.

        Raises:
            InputError: The temperature is not above 0.
        """
        if not 0 < temperature < math.inf:
            raise InputError(f"temperature must be above 0, got {temperature}")
        super().__init__(text, frame, put)
        self._temperature = temperature
        xp = namespace(self._frame)
        # |v|^2 = w G w: the pooled videos, one for each text and video, need not be in memory.
        self._gram = self._frame @ xp.matrix_transpose(self._frame)

    def _rule(self, products: Array, videos: Rows) -> Array:
        xp, num_frames = namespace(products), index(self._num_frames, videos)
        numbers = xp.arange(products.shape[2], device=array_api_compat.device(products))
        is_frame = numbers[None, :] < num_frames[:, None]  # (v, f)
        # (t, v, f): exp(-inf) is 0, so a frame that is not there has no weight.
        scaled = xp.where(is_frame, products / self._temperature, -xp.inf)
        weights = xp.exp(scaled - xp.max(scaled, axis=2, keepdims=True))
        weights = weights / xp.sum(weights, axis=2, keepdims=True)
        # (t, v, f) -> (v, t, f), to be multiplied with the Gram matrices, (v, f, f), video by video.
        of_videos = xp.permute_dims(weights, (1, 0, 2))
        squares = xp.sum((of_videos @ index(self._gram, videos)) * of_videos, axis=2).T  # (t, v)
        totals = xp.sum(weights * products, axis=2)  # frames that are not there are zero, and so are their products
        return totals / xp.sqrt(xp.clip(squares, min=_LEAST_SQUARE))
