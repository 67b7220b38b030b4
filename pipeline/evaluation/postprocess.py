"""Scores changed by what a candidate has in common with all queries, or those of a bank: to be named where reported.

Some videos ("hubs") are near to every text. Both methods take from a candidate what many queries share with it:

- `DualSoftmax`: queries of the test itself. It is *transductive*: the answer to a query depends on the other queries,
  which nobody has who searches with one. Its numbers must not stand beside others without saying so.
- `QueryBankNorm`: a bank of training queries, so that a query is answered alone.

Both are `Scores` over other `Scores`, in blocks: one pass for the normalisers of a direction when that is first asked
for, and another to rank. Rows come out in float64, where nothing underflows to a tie; candidates that score alike for
every query still tie, to the bit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pipeline.evaluation.ranking import blocks
from pipeline.evaluation.scores.backend import Array, namespace, to_numpy
from pipeline.evaluation.scores.dot import Scores

LEAST_EXPONENT = -600.0
"""Of a weight: `exp(-745)` is 0 in float64, and a score in float32 may be small, too."""


class DualSoftmax:
    """Dual softmax (DSL; Cheng et al. 2021, arXiv 2109.04290): each score times its share of the candidate.

    With the base scores `S` of `n` texts (rows) and `m` videos (columns) and the temperature `t`:

        text to video:  S' = S * n * softmax(S / t, over texts)
        video to text:  S' = S * m * softmax(S / t, over videos)

    It takes every text and video of the split, and several captions of a video each by themselves: this comes before a
    video's captions are reduced to the best of them. For cosines, the default temperature is what CLIP4Clip's heirs
    evaluate with: `sim * softmax(sim * 100, axis=0)` (CLIP-ViP), 100 being where CLIP's logit scale ends up. (CAMoE's
    training loss has `temp = 1000` for scores times that scale, which is 10 for cosines.) The factor `S` itself stays a
    cosine: a logit scale before it changes no rank.

    A negative score becomes the more negative the larger its share is, so among the negative ones a better match may
    rank below a worse one. That is the definition, and it is kept; own pairs of a trained model are above zero.
    """

    def __init__(self, base: Scores, temperature: float = 0.01) -> None:
        """Take scores.

        Args:
            base: Cosines, for the default temperature.
            temperature: Above zero.

        Raises:
            ValueError: A temperature that is not.
        """
        if not 0 < temperature < np.inf:
            raise ValueError(f"the temperature must be above zero, got {temperature}")
        self.num_texts, self.num_videos = base.num_texts, base.num_videos
        self._base, self._scale = base, 1 / temperature

    def of_texts(self, rows: slice) -> Array:
        """See `Scores`, but in float64.

        Raises:
            ValueError: The temperature is so low that weights vanish, which would tie what is not alike.
        """
        return self._weighted(self._base.of_texts(rows), self._of_videos, self.num_texts)

    def of_videos(self, rows: slice) -> Array:
        """See `of_texts`."""
        return self._weighted(self._base.of_videos(rows), self._of_texts, self.num_videos)

    def _weighted(self, similarity: Array, columns: _Columns, num_rows: int) -> Array:
        least = (columns.lowest - columns.highest) * self._scale
        if least < LEAST_EXPONENT:
            raise ValueError(
                f"temperature {1 / self._scale:g} is too low for scores of {columns.lowest:g} to {columns.highest:g}: "
                f"it must be at least {(columns.highest - columns.lowest) / -LEAST_EXPONENT:.2g}"
            )
        xp = namespace(similarity)
        weights = xp.exp(xp.astype(similarity, xp.float64) * self._scale - columns.log_sum)
        weights *= similarity
        weights *= num_rows
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

    where a candidate is active if it is among the `k` best of a query in the bank. What is given are not these numbers
    but `s(q, g) - log(sum_b exp(beta s(b, g))) / beta` for the former, which are in the same order within a row.

    Text to video takes a bank of training captions, video to text another, of training videos. Each caption is a query
    and a candidate of its own in either, so several captions a video need nothing else (the reference,
    `dynamic_inverted_softmax.py` of ioanacroi/qb-norm, has one direction, and is right for one caption a video).

    Where scores tie, the reference takes the candidate that a sort happens to put first. Here all that are level with
    the `k`-th best are active, and a query is normalised if any of its best candidates is.
    """

    def __init__(
        self, base: Scores, text_bank: Scores, video_bank: Scores | None = None, *, beta: float = 20.0, k: int = 1
    ) -> None:
        """Take scores.

        Args:
            base: Of test captions and test videos.
            text_bank: Of training captions and the same test videos.
            video_bank: Of the same test captions and training videos; None: video to text is refused.
            beta: Inverse temperature, above zero; the default is the reference's, for cosines.
            k: See above, at least 1; likewise.

        Raises:
            ValueError: A wrong `beta` or `k`, or a bank for other videos or captions.
        """
        if not 0 < beta < np.inf or k < 1:
            raise ValueError(f"beta must be above zero and k at least 1, got {beta} and {k}")
        if text_bank.num_videos != base.num_videos:
            raise ValueError(f"text_bank scores {text_bank.num_videos} videos, there are {base.num_videos}")
        if video_bank is not None and video_bank.num_texts != base.num_texts:
            raise ValueError(f"video_bank scores {video_bank.num_texts} texts, there are {base.num_texts}")
        self.num_texts, self.num_videos = base.num_texts, base.num_videos
        self._base, self._text_bank, self._video_bank = base, text_bank, video_bank
        self._beta, self._k = beta, k

    def of_texts(self, rows: slice) -> Array:
        """See `Scores`, but in float64."""
        return self._normalised(self._base.of_texts(rows), self._of_videos)

    def of_videos(self, rows: slice) -> Array:
        """See `of_texts`.

        Raises:
            ValueError: There is no bank of training videos.
        """
        return self._normalised(self._base.of_videos(rows), self._of_texts)

    def _normalised(self, similarity: Array, columns: _Columns) -> Array:
        xp = namespace(similarity)
        best = xp.max(similarity, axis=1, keepdims=True)
        is_normalised = xp.any((similarity == best) & columns.is_active, axis=1, keepdims=True)
        plain = xp.astype(similarity, xp.float64)
        return xp.where(is_normalised, plain - columns.log_sum / self._beta, plain)

    @cached_property
    def _of_videos(self) -> _Columns:
        bank = self._text_bank
        return _columns(bank.of_texts, bank.num_texts, self.num_videos, self._beta, self._k)

    @cached_property
    def _of_texts(self) -> _Columns:
        bank = self._video_bank
        if bank is None:
            raise ValueError("QB-Norm from video to text takes a bank of training videos, and there is none")
        return _columns(bank.of_videos, bank.num_videos, self.num_texts, self._beta, self._k)


@dataclass(frozen=True, slots=True)
class _Columns:
    """What the rows of a matrix of scores have in common in each of its columns."""

    log_sum: Array
    """Shape (num_columns,), float64: log of the sum of `exp(scale * score)` over all rows."""
    is_active: Array
    """Shape (num_columns,), boolean: whether it is among the highest few of a row."""
    lowest: float
    """Of all scores."""
    highest: float


def _columns(
    of_rows: Callable[[slice], Array], num_rows: int, num_columns: int, scale: float, num_best: int = 1
) -> _Columns:
    """Go through the matrix once, block by block, with no sum that may overflow.

    Args:
        of_rows: Gives some rows, shape (number of these, num_columns).
        num_rows: All of them.
        num_columns: Of each.
        scale: See `_Columns`.
        num_best: How many of each row are active.
    """
    found: _Columns | None = None
    for rows in blocks(num_rows, num_columns):
        block = _columns_of(of_rows(rows), scale, min(num_best, num_columns))
        found = block if found is None else _both(found, block)
    assert found is not None  # check_embeddings refuses a matrix without rows
    return found


def _columns_of(similarity: Array, scale: float, num_best: int) -> _Columns:
    xp = namespace(similarity)
    limit = (
        xp.max(similarity, axis=1, keepdims=True) if num_best == 1 else xp.sort(similarity, axis=1)[:, -num_best, None]
    )
    is_active = xp.any(similarity >= limit, axis=0)
    exponent = xp.astype(similarity, xp.float64) * scale
    highest = xp.max(exponent, axis=0)
    exponent -= highest
    return _Columns(
        log_sum=xp.log(_sum_of_rows(xp.exp(exponent))) + highest,
        is_active=is_active,
        lowest=float(to_numpy(xp.min(similarity))),
        highest=float(to_numpy(xp.max(similarity))),
    )


def _sum_of_rows(terms: Array) -> Array:
    """Add up the rows, shape (num_rows, num_columns), which are overwritten.

    Row by row, the upper half to the lower: the sums of a library may add columns at an edge in another order, and then
    columns that are equal have sums that are not.
    """
    num_rows = terms.shape[0]
    while num_rows > 1:
        half = (num_rows + 1) // 2
        terms[: num_rows - half] += terms[half:num_rows]
        num_rows = half
    return terms[0]


def _both(one: _Columns, other: _Columns) -> _Columns:
    xp = namespace(one.log_sum)
    return _Columns(
        log_sum=xp.logaddexp(one.log_sum, other.log_sum),
        is_active=one.is_active | other.is_active,
        lowest=min(one.lowest, other.lowest),
        highest=max(one.highest, other.highest),
    )
