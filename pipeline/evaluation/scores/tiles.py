"""Scores of texts by the frames of videos, in tiles: what rules that read frames one by one have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

import array_api_compat
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.evaluation.scores.backend import Array, Rows, index, like, namespace, rows_of
from pipeline.evaluation.scores.dot import Put, check_embeddings, copied
from pipeline.evaluation.scores.equal import EqualRows, Strip
from pipeline.run.words import plural

_TILE_SCORES = 2**22
"""Texts x frames of one product: 16 MiB of float32. Many small products take several times as long as a large one."""


class TiledScores(ABC):
    """Scores that a rule makes of a text's inner products with the frames of a video, each frame of unit norm.

    Equal texts score equally to the bit, and so do videos with equal frames, in whichever rows: see
    `pipeline.evaluation.scores.dot.DotScores`.
    """

    def __init__(self, text: NDArray[np.float32], frame: NDArray[np.float32], put: Put = lambda array: array) -> None:
        """Check embeddings and move them to the device.

        Args:
            text: Shape (num_texts, dim).
            frame: Shape (num_videos, num_frames, dim), of any norm; all NaN for a frame that the video does not have.
            put: Moves them to a device.

        Raises:
            ValueError: A shape or a dtype is wrong; a video has no frame; or rows cannot be scored (some NaN, infinite,
                all zero).
        """
        if frame.ndim != 3 or not frame.size:
            raise ValueError(
                f"frames must have the shape (num_videos, num_frames, dim) with at least one of each, got {frame.shape}"
            )
        check_embeddings("text", text)
        if text.shape[1] != frame.shape[2]:
            raise ValueError(f"text and frame embeddings must have one dim, got {text.shape[1]} and {frame.shape[2]}")
        unit, num_frames = unit_frames(frame)
        self.num_texts, self.num_videos = len(text), len(unit)
        self._text, self._frame = put(text), put(unit)
        self._num_frames = like(num_frames, self._text)
        self._equal = EqualRows.of(text, unit.reshape(len(unit), -1))

    @property
    def first_videos(self) -> NDArray[np.int64]:
        """See `Tiles`."""
        return self._equal.first_videos

    @abstractmethod
    def _rule(self, products: Array, videos: Rows) -> Array:
        """Scores of a tile.

        Args:
            products: Inner products, shape (number of texts, number of videos, num_frames); without meaning where a
                video has no frame, which is after those that it has.
            videos: Of which videos.

        Returns:
            Shape (number of texts, number of videos).
        """

    def strip(self, videos: Rows) -> Strip:
        """See `Tiles`."""
        return self._equal.strip(self._of_videos, videos)

    def of_texts(self, rows: slice) -> Array:
        """See `Scores`."""
        scores = self._empty(len(self._text[rows]), self.num_videos)
        for videos in self._tiles(*scores.shape):
            scores[:, videos] = self._tile(rows, videos)
        return copied(scores, self._equal.first_videos)

    def of_videos(self, rows: slice) -> Array:
        """See `Scores`."""
        return copied(self._of_videos(rows, slice(0, self.num_texts)), self._equal.first_texts)

    def _of_videos(self, videos: Rows, texts: Rows) -> Array:
        numbers = np.arange(self.num_texts)[texts]
        scores = self._empty(len(self._equal.first_videos[videos]), len(numbers))
        for part in self._tiles(*scores.shape):
            scores[:, part] = self._tile(rows_of(numbers[part]), videos).T  # rules have texts as rows, strips videos
        return scores

    def _empty(self, num_rows: int, num_columns: int) -> Array:
        xp = namespace(self._text)
        return xp.empty((num_rows, num_columns), dtype=xp.float32, device=array_api_compat.device(self._text))

    def _tile(self, texts: Rows, videos: Rows) -> Array:
        """Scores of some texts with some videos, shape (number of these texts, number of these videos)."""
        xp, frame = namespace(self._text), index(self._frame, videos)
        # (t, dim) @ (dim, v * f) -> (t, v * f), then (t, v, f): one large product for all frames.
        products = index(self._text, texts) @ xp.reshape(frame, (-1, frame.shape[2])).T
        return self._rule(xp.reshape(products, (-1, *frame.shape[:2])), videos)

    def _tiles(self, num_rows: int, num_columns: int) -> Iterator[slice]:
        size = max(1, _TILE_SCORES // (num_rows * self._frame.shape[1]))
        for start in range(0, num_columns, size):
            yield slice(start, min(start + size, num_columns))


def unit_frames(frame: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Unit vectors of frames, with the frames that a video has before those that it does not have.

    Returns:
        Frames, zero where a video has none; and the number of frames of each video.

    Raises:
        ValueError: See `TiledScores`; rows are counted over all frames of all videos.
    """
    is_lacking: NDArray[np.bool_] = np.all(np.isnan(frame), axis=2)
    num_frames: NDArray[np.int64] = (~is_lacking).sum(axis=1)
    without = np.flatnonzero(num_frames == 0)
    if len(without):
        raise InputError(f"{len(without)} of {plural(len(frame), 'video')} have no frame (the first: {without[0]})")
    # Ones for what is lacking, until the norms are taken: zeros and NaN would be refused.
    unit = np.where(is_lacking[:, :, None], np.float32(1), frame)
    check_embeddings("frame", unit.reshape(-1, frame.shape[2]))
    unit /= np.linalg.norm(unit, axis=2, keepdims=True)
    if is_lacking.any():
        unit[is_lacking] = 0  # no frame is zero, so that a video with fewer frames is never a copy of one with more
        # False before True: frames come first, and stay in the order of time.
        unit = np.take_along_axis(unit, np.argsort(is_lacking, axis=1, kind="stable")[:, :, None], axis=1)
    return unit, num_frames
