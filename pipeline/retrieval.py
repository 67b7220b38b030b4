"""Text-to-video and video-to-text retrieval from cached embeddings: the protocol named `fda`.

With similarity `s(c, v) = <text[c], video[v]>` in float32 and `truth[c]` the video that caption `c` describes:

- text to video: every caption is a query; `rank(c) = #{v : s(c, v) >= s(c, truth[c])}`.
- video to text: every video that has a caption is a query, and they alone are candidates. A video's captions count
  through the best of them, `S(i, j) = max{s(c, i) : truth[c] = j}`; `rank(i) = #{j : S(i, j) >= S(i, i)}`.

Rank 1 is best, and ties count against the model: the own video or caption stands last among its equals. Without ties
these are CLIP4Clip's ranks in both directions (`metrics.py`: `tensor_text_to_video_metrics`, and `compute_metrics` of
`tensor_video_to_text_sim`). collaborative-experts agrees on text to video and on R@1 of video to text; the rest of
video to text differs, because it ranks single captions there.

Embeddings that are equal bit by bit tie exactly, wherever they stand. A matrix product alone does not promise that:
BLAS sums edge rows and columns in another order (OpenBLAS' Haswell kernels scored equal rows unequally in more than
half of 3,000 random shapes). So the score of a repeated row is computed once and copied. Scores of rows that differ
may still differ in their last bits between machines, and so may the order of two videos that are closer than that.

A worked example, three captions (rows) of three videos (columns). Captions 1 and 2 like video 0 at least as much as
their own, and video 0 cannot tell caption 2 from caption 0:

    s =  9 1 2      text to video: ranks 1, 2 (8 and 8 tie), 2 (9 is above 7)
         8 8 0      video to text: ranks 2 (9 and 9 tie), 1, 1
         9 4 7

>>> text = np.array([[9, 1, 2], [8, 8, 0], [9, 4, 7]], np.float32)
>>> video, truth = np.eye(3, dtype=np.float32), np.arange(3)
>>> text_to_video_ranks(text, video, truth), video_to_text_ranks(text, video, truth)
(array([1, 2, 2]), array([2, 1, 1]))
>>> result = evaluate_retrieval(text, video, truth)
>>> round(result.text_to_video.r1, 1), round(result.video_to_text.r1, 1), result.text_to_video.median_rank
(33.3, 66.7, 2.0)
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from hashlib import blake2b
from typing import Self

import numpy as np
from numpy.typing import NDArray

_BLOCK_ROWS = 512
_BLOCK_SIMILARITIES = 2**22  # 16 MiB of float32
_CAPTION_ROWS = 4096


@dataclass(frozen=True, slots=True)
class RetrievalMetrics:
    """What is reported of one direction of retrieval."""

    num_queries: int
    num_candidates: int
    r1: float
    """Percent of the queries whose rank is at most 1: video retrieval's R@k is information retrieval's Success@k."""
    r5: float
    r10: float
    median_rank: float
    """Of an even number of ranks, the mean of the middle two (CLIP4Clip's `torch.median` takes the lower)."""
    mean_rank: float

    @classmethod
    def from_ranks(cls, ranks: NDArray[np.int64], num_candidates: int) -> Self:
        """Summarise ranks, shape (num_queries,), each within `[1, num_candidates]`.

        Raises:
            ValueError: if there is no rank, or one outside that range.

        >>> RetrievalMetrics.from_ranks(np.array([1, 2, 7, 20]), num_candidates=20).median_rank
        4.5
        """
        if ranks.ndim != 1 or not len(ranks):
            raise ValueError(f"ranks must be one-dimensional and not empty, got shape {ranks.shape}")
        if ranks.min() < 1 or ranks.max() > num_candidates:
            raise ValueError(
                f"ranks must lie within 1..{num_candidates} (num_candidates), got {ranks.min()}..{ranks.max()}"
            )
        r1, r5, r10 = (100.0 * float(np.mean(ranks <= k)) for k in (1, 5, 10))
        return cls(len(ranks), num_candidates, r1, r5, r10, float(np.median(ranks)), float(np.mean(ranks)))

    def to_dict(self) -> dict[str, float]:
        """As plain numbers under the names of the fields, for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class RetrievalResult:
    """Both directions of retrieval under the protocol `fda`."""

    text_to_video: RetrievalMetrics
    video_to_text: RetrievalMetrics

    @property
    def num_videos_without_captions(self) -> int:
        """Videos that no caption describes: candidates of text to video, absent from video to text."""
        return self.text_to_video.num_candidates - self.video_to_text.num_candidates


def evaluate_retrieval(
    text: NDArray[np.float32], video: NDArray[np.float32], truth: NDArray[np.int64]
) -> RetrievalResult:
    """Score both directions of retrieval; the module's docstring defines and works out the protocol.

    Args:
        text: Shape (num_captions, dim): one embedding a caption. Rows need not be of unit length.
        video: Shape (num_videos, dim): one embedding a video.
        truth: Shape (num_captions,): the row of `video` that each caption describes.

    Raises:
        ValueError: for a wrong shape or dtype, no caption, a `truth` outside `[0, num_videos)`, and rows that cannot be
            scored (NaN, infinite, all zero); the message gives how many and the first of them.
    """
    to_video = text_to_video_ranks(text, video, truth)
    to_text = video_to_text_ranks(text, video, truth)
    return RetrievalResult(
        RetrievalMetrics.from_ranks(to_video, len(video)), RetrievalMetrics.from_ranks(to_text, len(to_text))
    )


def text_to_video_ranks(
    text: NDArray[np.float32], video: NDArray[np.float32], truth: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Rank of each caption's own video among all videos, shape (num_captions,); arguments as in `evaluate_retrieval`.

    Holds one block of similarities, at most 512 captions x num_videos and 16 MiB (or one row, where that is more).

    >>> text_to_video_ranks(np.ones((2, 1), np.float32), np.ones((5, 1), np.float32), np.array([0, 3]))  # all tied
    array([5, 5])
    """
    _check_inputs(text, video, truth)
    firsts, slot = _repeated_rows(video)
    copies = np.flatnonzero(slot >= 0)
    originals = firsts[slot[copies]]
    ranks = np.empty(len(text), np.int64)
    num_rows = _block_rows(len(video))
    for start in range(0, len(text), num_rows):
        block = slice(start, start + num_rows)
        similarity = text[block] @ video.T
        similarity[:, copies] = similarity[:, originals]
        own = np.take_along_axis(similarity, truth[block, None], axis=1)
        ranks[block] = np.count_nonzero(similarity >= own, axis=1)
    return ranks


def video_to_text_ranks(
    text: NDArray[np.float32], video: NDArray[np.float32], truth: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Rank of each video's best own caption among every video's best caption; arguments as in `evaluate_retrieval`.

    Holds a few blocks of at most 16 MiB each, never captions x videos.

    Returns:
        Shape (num_videos_with_captions,), in the order of their rows in `video`.

    >>> text = np.array([[1, 0], [0, 1], [2, 0]], np.float32)
    >>> video_to_text_ranks(text, np.eye(2, dtype=np.float32), np.array([0, 1, 1]))  # video 0 likes caption 2 best
    array([2, 1])
    """
    _check_inputs(text, video, truth)
    firsts, slot = _repeated_rows(text)
    videos, rounds = _caption_rounds(truth)
    ranks = np.empty(len(videos), np.int64)
    num_rows = _block_rows(max(len(videos), len(firsts)))
    for start in range(0, len(videos), num_rows):
        queries = video[videos[start : start + num_rows]]
        repeated = text[firsts] @ queries.T
        best = np.full((len(videos), len(queries)), -np.inf, np.float32)
        for captions in rounds:
            _raise_to_captions(best[: len(captions)], text, captions, queries, repeated, slot)
        own = best[start + np.arange(len(queries)), np.arange(len(queries))]
        ranks[start : start + len(queries)] = np.count_nonzero(best >= own, axis=0)
    return ranks[np.argsort(videos)]


def _raise_to_captions(
    best: NDArray[np.float32],
    text: NDArray[np.float32],
    captions: NDArray[np.int64],
    queries: NDArray[np.float32],
    repeated: NDArray[np.float32],
    slot: NDArray[np.int64],
) -> None:
    """Raise `best`, shape (len(captions), num_queries), in place to the similarity of each caption to each query.

    `repeated`, shape (num_repeated, num_queries), holds at `slot` the similarities of captions that occur again.
    """
    for start in range(0, len(captions), _CAPTION_ROWS):
        rows = captions[start : start + _CAPTION_ROWS]
        similarity = text[rows] @ queries.T
        copies = np.flatnonzero(slot[rows] >= 0)
        similarity[copies] = repeated[slot[rows[copies]]]
        part = best[start : start + len(rows)]
        np.maximum(part, similarity, out=part)


def _caption_rounds(truth: NDArray[np.int64]) -> tuple[NDArray[np.int64], list[NDArray[np.int64]]]:
    """Deal the captions out in rounds, one to each video that still has one.

    Returns:
        The videos that have captions, those with most captions first; and per round `k` the `k`-th caption of each of
        the first `len(round)` of these videos.

    >>> _caption_rounds(np.array([2, 0, 2]))
    (array([2, 0]), [array([0, 1]), array([2])])
    """
    videos, counts = np.unique(truth, return_counts=True)
    most_first = np.argsort(-counts, kind="stable")
    by_video = np.argsort(truth, kind="stable")
    starts = (np.cumsum(counts) - counts)[most_first]
    fewer = -counts[most_first]
    num_left = np.searchsorted(fewer, -np.arange(counts.max()))  # videos with more than k captions
    return videos[most_first], [by_video[starts[:num] + k] for k, num in enumerate(num_left)]


def _repeated_rows(rows: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Find the rows that occur more than once.

    Returns:
        The first row of each group of equal rows; and each row's group, shape (len(rows),), -1 where nothing equals it.

    >>> _repeated_rows(np.array([[5, 0], [6, 0], [5, -0.0]], np.float32))
    (array([0]), array([ 0, -1,  0]))
    """
    seen: dict[bytes, int] = {}
    # Adding zero turns -0 into 0. A digest, long enough not to collide by chance, saves holding the rows twice.
    keys = (blake2b((row + np.float32(0)).tobytes(), digest_size=16).digest() for row in rows)
    first = np.array([seen.setdefault(key, index) for index, key in enumerate(keys)], np.int64)
    _, group, counts = np.unique(first, return_inverse=True, return_counts=True)
    repeats = counts > 1
    slot = np.where(repeats, np.cumsum(repeats) - 1, -1)[group]
    return np.flatnonzero((slot >= 0) & (first == np.arange(len(rows)))), slot


def _block_rows(num_columns: int) -> int:
    """Rows of a block of similarities that has `num_columns` columns."""
    return max(1, min(_BLOCK_ROWS, _BLOCK_SIMILARITIES // num_columns))


def _check_inputs(text: NDArray[np.float32], video: NDArray[np.float32], truth: NDArray[np.int64]) -> None:
    """Refuse what cannot be scored; see `evaluate_retrieval`."""
    _check_embeddings("text", text)
    _check_embeddings("video", video)
    if text.shape[1] != video.shape[1]:
        raise ValueError(f"text and video embeddings must have one dim, got {text.shape[1]} and {video.shape[1]}")
    if truth.dtype != np.int64 or truth.shape != (len(text),):
        raise ValueError(
            f"truth must be int64 of shape ({len(text)},), one row of video a caption; got {truth.dtype}, {truth.shape}"
        )
    outside = np.flatnonzero((truth < 0) | (truth >= len(video)))
    if len(outside):
        raise ValueError(
            f"truth must name rows of video, 0..{len(video) - 1}, but {len(outside)} of {len(truth)} captions do not: "
            f"caption {outside[0]} says {truth[outside[0]]}"
        )


def _check_embeddings(name: str, embeddings: NDArray[np.float32]) -> None:
    """Refuse rows that have no direction, and those whose similarities float32 cannot hold."""
    if embeddings.dtype != np.float32 or embeddings.ndim != 2 or not embeddings.size:
        raise ValueError(
            f"{name} embeddings must be float32 of shape (rows, dim) with at least one of each, "
            f"got {embeddings.dtype} of shape {embeddings.shape}"
        )
    squares = np.einsum("ij,ij->i", embeddings, embeddings)  # |<a, b>|^2 <= <a, a> <b, b>
    for what, wrong in (("NaN, infinite or too large", ~np.isfinite(squares)), ("zero or vanishing", squares == 0)):
        rows = np.flatnonzero(wrong)
        if len(rows):
            first = ", ".join(map(str, rows[:5])) + (", ..." if len(rows) > 5 else "")
            raise ValueError(
                f"{name} embeddings: {len(rows)} of {len(embeddings)} rows are {what} (rows {first}); "
                "encode them again, or leave out what they stand for and say so"
            )
