"""What tests of retrieval share: scores given as a matrix, cases with ties, and the definitions written out plainly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.evaluation.ranking import TextRankCounts, both_ways
from pipeline.evaluation.scores.backend import Rows
from pipeline.evaluation.scores.dot import Tiles
from pipeline.evaluation.scores.equal import Strip, Tile

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


class MatrixScores:
    """Scores that are known, shape (num_texts, num_videos)."""

    def __init__(self, matrix: Floats, first_videos: Ints | None = None) -> None:
        self.matrix = matrix
        self.num_texts, self.num_videos = matrix.shape
        self.first_videos = np.arange(self.num_videos) if first_videos is None else first_videos

    def strip(self, videos: Rows) -> Strip:
        rows = self.matrix.T[videos]

        def tile(texts: Rows) -> Tile:
            scores = np.ascontiguousarray(rows[:, texts])
            return Tile(scores, scores)

        return tile

    def of_texts(self, rows: slice) -> Floats:
        return self.matrix[rows].copy()

    def of_videos(self, rows: slice) -> Floats:
        return np.ascontiguousarray(self.matrix.T[rows])


@dataclass(frozen=True)
class Case:
    """Scores of captions and videos."""

    matrix: Floats
    """Shape (num_captions, num_videos)."""
    truth: Ints
    """Shape (num_captions,)."""

    @property
    def scores(self) -> MatrixScores:
        return MatrixScores(self.matrix)

    def with_equal_videos(self) -> MatrixScores:
        """The same, but that each odd video is that before it."""
        first = np.arange(self.matrix.shape[1]) // 2 * 2
        return MatrixScores(self.matrix[:, first], first)


@st.composite
def tied_cases(draw: st.DrawFn) -> Case:
    """Few values, so that many are equal; several captions a video, in any order, and videos without one."""
    num_videos, num_captions = draw(st.integers(1, 12)), draw(st.integers(1, 30))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    low, high = draw(st.sampled_from([(0, 1), (0, 2), (-2, 3), (-50, 50)]))
    matrix = rng.integers(low, high, (num_captions, num_videos)).astype(np.float32)
    return Case(matrix, rng.integers(0, num_videos, num_captions))


def recorded_case(seed: int, num_videos: int, high: int) -> Case:
    """A case whose figures by the references' own code are recorded: one to four captions a video, side by side.

    Args:
        seed: Of the random numbers.
        num_videos: All of them have captions.
        high: Scores are whole numbers in 0..high, where many tie; 0: no two scores are equal.
    """
    rng = np.random.default_rng(seed)
    truth = np.repeat(np.arange(num_videos), rng.integers(1, 5, num_videos))
    shape = (len(truth), num_videos)
    matrix = (rng.integers(0, high, shape) if high else rng.permutation(truth.size * num_videos).reshape(shape)).astype(
        np.float32
    )
    matrix[np.arange(len(truth)), truth] += high // 2 if high else truth.size * num_videos // 2 + 0.5
    return Case(matrix, truth)


def recorded_square(seed: int, num_videos: int, high: int) -> Case:
    """As `recorded_case` with ties, but with one caption a video."""
    matrix = np.random.default_rng(seed).integers(0, high, (num_videos, num_videos)).astype(np.float32)
    matrix[np.arange(num_videos), np.arange(num_videos)] += high // 2
    return Case(matrix, np.arange(num_videos))


def video_to_text(scores: Tiles, truth: Ints, *, gains: bool = False) -> TextRankCounts:
    """The second of both ways."""
    return both_ways(scores, truth, gains=gains)[1]


def whole(scores: Tiles) -> Tile:
    """All scores in one tile; rows are videos."""
    return scores.strip(slice(0, scores.num_videos))(slice(0, scores.num_texts))


def unit_rows(rng: np.random.Generator, num_rows: int, dim: int) -> Floats:
    """Random directions."""
    rows = rng.standard_normal((num_rows, dim)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


def counted(values: Floats, own: float) -> tuple[int, int]:
    """Of these values, how many are above one of them, and how many are level with it."""
    return sum(bool(value > own) for value in values), sum(bool(value == own) for value in values)


def plain_text_to_video(case: Case) -> list[tuple[int, int]]:
    """Videos above and level with the own one of each caption."""
    return [counted(row, row[own]) for row, own in zip(case.matrix, case.truth, strict=True)]


def plain_best(case: Case) -> list[tuple[int, int]]:
    """Videos above and level with the own one of each video that has captions, by the best of their captions."""
    videos = np.unique(case.truth)
    rows = [np.array([case.matrix[case.truth == j, i].max() for j in videos]) for i in videos]
    return [counted(row, row[number]) for number, row in enumerate(rows)]


def plain_single(case: Case) -> list[tuple[int, int]]:
    """Captions above and level with the best own one of each video that has captions."""
    return [counted(case.matrix[:, i], case.matrix[case.truth == i, i].max()) for i in np.unique(case.truth)]


def plain_gains(case: Case) -> list[float]:
    """nDCG of each video that has captions: all captions sorted, own ones last among those that score the same."""
    gains = []
    for video in np.unique(case.truth):
        is_own = case.truth == video
        order = sorted(range(len(is_own)), key=lambda c: (-case.matrix[c, video], is_own[c]))
        found = sum(1 / np.log2(1 + place) for place, caption in enumerate(order, 1) if is_own[caption])
        gains.append(found / sum(1 / np.log2(1 + place) for place in range(1, is_own.sum() + 1)))
    return gains
