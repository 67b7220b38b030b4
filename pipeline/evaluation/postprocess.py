"""Post-processed scores, which lower candidates that are near to many queries. Report them under their own name.

Some videos ("hubs") are near to every text. Both methods lower a candidate by its scores with other queries:

- `DualSoftmax`: the queries of the test itself. It is *transductive*: the result of a query depends on the other
  queries of the test, which a search for one query does not have. Do not compare its metrics with others without
  saying so.
- `QueryBankNorm`: a bank of training queries, so that the result of a query depends on no other test query.

Both are `Tiles` computed from `Scores`: a pass for the normalisers of each direction, when the first tile is asked for,
and another to rank. They are float64, because in float32 small weights would underflow to 0 and tie. Candidates
whose scores are equal for every query still tie to the bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pipeline.errors import InputError
from pipeline.evaluation.scores.backend import Array, Rows, index, namespace, to_numpy
from pipeline.evaluation.scores.dot import Scores
from pipeline.evaluation.scores.equal import Strip, Tile

LEAST_EXPONENT = -600.0
"""Of a weight: `exp(-745)` is 0 in float64, and the weight is then multiplied by a score, which may be small, too."""
_BLOCK_ROWS = 4096
"""Rows of a block at most. With many small products, BLAS's threads wait for one another, and longer if the machine is
busy with other work."""
_LEAST_ROWS = 160
"""Rows of a block at least: with fewer, BLAS packs the columns for longer than it multiplies them."""
_BLOCK_SCORES = 2**22
"""Scores of a block: 16 MiB of float32, or `_LEAST_ROWS` rows if that is more."""


class DualSoftmax:
    """Dual softmax (DSL; Cheng et al. 2021, arXiv 2109.04290): each score times its share of the candidate.

    With the base scores `S` of `n` texts (rows) and `m` videos (columns) and the temperature `t`:

        text to video:  S' = S * n * softmax(S / t, over texts)
        video to text:  S' = S * m * softmax(S / t, over videos)

    It uses every text and video of the split. Each of several captions of a video counts by itself: this comes before a
    video's captions are reduced to the best of them. The default temperature is for cosines, and is the one that
    successors of CLIP4Clip evaluate with: `sim * softmax(sim * 100, axis=0)` (CLIP-ViP), because CLIP's logit scale is
    100 in the end. (CAMoE's training loss has `temp = 1000` for scores times that scale, which is 10 for cosines.) The
    factor `S` itself stays a cosine: a logit scale on it would change no rank.

    A negative score becomes more negative the larger its share is, so that among negative scores a better match may
    rank below a worse one. This follows the definition; own pairs of a trained model score above zero.
    """

    def __init__(self, base: Scores, temperature: float = 0.01) -> None:
        """Wrap scores.

        Args:
            base: The scores to change: cosines, for the default temperature.
            temperature: Above zero.

        Raises:
            ValueError: The temperature is not above zero.
        """
        if not 0 < temperature < np.inf:
            raise ValueError(f"the temperature must be above zero, got {temperature}")
        self.num_texts, self.num_videos = base.num_texts, base.num_videos
        self.first_videos = base.first_videos
        self._base, self._scale = base, 1 / temperature

    def strip(self, videos: Rows) -> Strip:
        """See `Tiles`, but in float64.

        Raises:
            ValueError: The temperature is so low that weights become 0: candidates that differ would tie.
        """
        base, of_videos, of_texts = self._base.strip(videos), self._of_videos, self._of_texts
        self._check(of_videos)
        self._check(of_texts)
        of_row = index(of_videos.log_sum, videos)[:, None]  # (v,) -> (v, 1): tiles have videos as rows

        def tile(texts: Rows) -> Tile:
            found = base(texts)
            return Tile(
                # Text to video: the share of a text among all texts of the video, so one divisor for each row. Video to
                # text: one for each column. So the two directions have other scores, and a tile has two arrays.
                self._weighted(found.to_video, of_row, self.num_texts),
                self._weighted(found.to_text, index(of_texts.log_sum, texts), self.num_videos),
            )

        return tile

    def _check(self, columns: _Columns) -> None:
        # No weight of any candidate is smaller: `log_sum` is at most as far above the highest score as log(n).
        least = (columns.lowest - columns.highest) * self._scale
        if least < LEAST_EXPONENT:
            raise InputError(
                f"temperature {1 / self._scale:g} is too low for scores of {columns.lowest:g} to {columns.highest:g}: "
                f"it must be at least {(columns.highest - columns.lowest) / -LEAST_EXPONENT:.2g}"
            )

    def _weighted(self, similarity: Array, log_sum: Array, num_rows: int) -> Array:
        xp = namespace(similarity)
        # exp(s / t) / sum exp(s / t), by logarithms: each alone would overflow at low temperatures.
        weights = xp.exp(xp.astype(similarity, xp.float64) * self._scale - log_sum)
        weights *= similarity
        weights *= num_rows  # so that a share of 1 / n leaves a score as it is; no rank depends on it
        return weights

    @cached_property
    def _of_videos(self) -> _Columns:
        return _columns(self._base.of_texts, self.num_texts, self.num_videos, self._scale)

    @cached_property
    def _of_texts(self) -> _Columns:
        return _columns(self._base.of_videos, self.num_videos, self.num_texts, self._scale)


class QueryBankNorm:
    """Querybank normalisation with the dynamic inverted softmax (QB-Norm; Bogolin et al. 2022, arXiv 2112.12777).

    With the score `s(q, g)` of a query and a candidate, and a bank of *training* queries `b`:

        S'(q, g) = exp(beta s(q, g)) / sum_b exp(beta s(b, g))   if the best candidate of q is active
        S'(q, g) = s(q, g)                                       otherwise

    where a candidate is active if it is among the `k` best of a query in the bank. For the first case this returns
    `s(q, g) - log(sum_b exp(beta s(b, g))) / beta` instead, which has the same order within a row.

    Text to video uses a bank of training captions, video to text a bank of training videos. Each caption is a query or
    a candidate of its own, so that several captions a video need no special case (the reference,
    `dynamic_inverted_softmax.py` of ioanacroi/qb-norm, has one direction, and is right for one caption a video).

    If scores tie, the reference takes the candidate that its sort happens to put first. Here all that are level with
    the `k`-th best are active, and a query is normalised if any of its best candidates is active.
    """

    def __init__(self, base: Scores, text_bank: Scores, video_bank: Scores, *, beta: float = 20.0, k: int = 1) -> None:
        """Wrap scores.

        Args:
            base: Scores of test captions and test videos.
            text_bank: Scores of training captions and the same test videos.
            video_bank: Scores of the same test captions and training videos.
            beta: Inverse temperature, above zero; the default is the reference's, for cosines.
            k: See above, at least 1; the default is the reference's.

        Raises:
            ValueError: `beta` or `k` is out of range, or a bank has another number of videos or captions.
        """
        if not 0 < beta < np.inf or k < 1:
            raise ValueError(f"beta must be above zero and k at least 1, got {beta} and {k}")
        if text_bank.num_videos != base.num_videos:
            raise ValueError(f"text_bank scores {text_bank.num_videos} videos, there are {base.num_videos}")
        if video_bank.num_texts != base.num_texts:
            raise ValueError(f"video_bank scores {video_bank.num_texts} texts, there are {base.num_texts}")
        self.num_texts, self.num_videos = base.num_texts, base.num_videos
        self.first_videos = base.first_videos
        self._base, self._text_bank, self._video_bank = base, text_bank, video_bank
        self._beta, self._k = beta, k

    def strip(self, videos: Rows) -> Strip:
        """See `Tiles`, but in float64."""
        base, of_videos, of_texts = self._base.strip(videos), self._of_videos, self._of_texts
        lowered_row = index(of_videos.log_sum, videos)[:, None] / self._beta  # (v, 1)
        row_is_normalised = index(self._videos_normalised, videos)[:, None]

        def tile(texts: Rows) -> Tile:
            xp, found = namespace(of_texts.log_sum), base(texts)
            to_video, to_text = xp.astype(found.to_video, xp.float64), xp.astype(found.to_text, xp.float64)
            lowered = index(of_texts.log_sum, texts) / self._beta  # (t,): one for each column
            return Tile(
                # (t,) and (v, 1) spread to (v, t). A query is normalised with all of its candidates, or with none:
                # otherwise logarithms would be compared with cosines.
                xp.where(index(self._texts_normalised, texts), to_video - lowered_row, to_video),
                xp.where(row_is_normalised, to_text - lowered, to_text),
            )

        return tile

    @cached_property
    def _texts_normalised(self) -> Array:
        return _normalised(self._base.of_texts, self.num_texts, self._of_videos)

    @cached_property
    def _videos_normalised(self) -> Array:
        return _normalised(self._base.of_videos, self.num_videos, self._of_texts)

    @cached_property
    def _of_videos(self) -> _Columns:
        bank = self._text_bank
        return _columns(bank.of_texts, bank.num_texts, self.num_videos, self._beta, self._k)

    @cached_property
    def _of_texts(self) -> _Columns:
        bank = self._video_bank
        return _columns(bank.of_videos, bank.num_videos, self.num_texts, self._beta, self._k)


def _blocks(num_rows: int, num_columns: int) -> Iterator[slice]:
    """Slices of rows, one after the other, each of as many as may be in memory with all their columns."""
    size = min(_BLOCK_ROWS, max(_LEAST_ROWS, _BLOCK_SCORES // num_columns))
    for start in range(0, num_rows, size):
        yield slice(start, min(start + size, num_rows))


def _normalised(of_rows: Callable[[slice], Array], num_rows: int, columns: _Columns) -> Array:
    """Shape (num_rows,), boolean: whether any of the best candidates of a query is active."""
    xp = namespace(columns.is_active)
    found = []
    for rows in _blocks(num_rows, columns.is_active.shape[0]):
        similarity = of_rows(rows)
        best = xp.max(similarity, axis=1, keepdims=True)
        found.append(xp.any((similarity == best) & columns.is_active, axis=1))  # (rows, columns) -> (rows,)
    return xp.concat(found)


@dataclass(frozen=True, slots=True)
class _Columns:
    """Sums and maxima over all rows of a matrix of scores, for each of its columns."""

    log_sum: Array
    """Shape (num_columns,), float64: log of the sum of `exp(scale * score)` over all rows."""
    is_active: Array
    """Shape (num_columns,), boolean: whether the column is among the highest few of any row."""
    lowest: float
    """The lowest of all scores."""
    highest: float


def _columns(
    of_rows: Callable[[slice], Array], num_rows: int, num_columns: int, scale: float, num_best: int = 1
) -> _Columns:
    """Go through the matrix once, block by block; sums are taken relative to the maximum, so that none overflows.

    Args:
        of_rows: Returns some rows, shape (number of these, num_columns).
        num_rows: Rows in all.
        num_columns: Columns of each row.
        scale: See `_Columns`.
        num_best: How many columns each row makes active.
    """
    found: _Columns | None = None
    for rows in _blocks(num_rows, num_columns):
        block = _columns_of(of_rows(rows), scale, min(num_best, num_columns))
        found = block if found is None else _merge(found, block)
    assert found is not None  # check_embeddings refuses a matrix without rows
    return found


def _columns_of(similarity: Array, scale: float, num_best: int) -> _Columns:
    xp = namespace(similarity)
    limit = (
        # (rows, 1), also where sorted
        xp.max(similarity, axis=1, keepdims=True) if num_best == 1 else xp.sort(similarity, axis=1)[:, -num_best, None]
    )
    is_active = xp.any(similarity >= limit, axis=0)
    exponent = xp.astype(similarity, xp.float64) * scale
    highest = xp.max(exponent, axis=0)  # (columns,): of each column in this block; `_merge` brings blocks together
    exponent -= highest
    return _Columns(
        log_sum=xp.log(_sum_of_rows(xp.exp(exponent))) + highest,
        is_active=is_active,
        lowest=float(to_numpy(xp.min(similarity))),
        highest=float(to_numpy(xp.max(similarity))),
    )


def _sum_of_rows(terms: Array) -> Array:
    """Sum of the rows of `terms`, shape (num_rows, num_columns), which is overwritten.

    The lower half is added to the upper half until one row is left. A library's `sum` may add the columns at an edge in
    another order; equal columns would then get unequal sums, and no longer tie.
    """
    num_rows = terms.shape[0]
    while num_rows > 1:
        half = (num_rows + 1) // 2
        terms[: num_rows - half] += terms[half:num_rows]
        num_rows = half
    return terms[0]


def _merge(one: _Columns, other: _Columns) -> _Columns:
    xp = namespace(one.log_sum)
    return _Columns(
        log_sum=xp.logaddexp(one.log_sum, other.log_sum),
        is_active=one.is_active | other.is_active,
        lowest=min(one.lowest, other.lowest),
        highest=max(one.highest, other.highest),
    )
