"""Embeddings that are in no store, as the evaluation takes them: other people's, as plain arrays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.errors import InputError
from store.features import Features

UNIT_TOLERANCE = 1e-3
"""How far the norm of an embedding may be from 1. Float32 sums, in any order, are ten times nearer, and float16 rounds
by half of this."""


ROUNDING = 1e-6
"""How far the norm of float32 numbers may be from 1 by rounding alone."""

_ROWS_AT_ONCE = 256


def unit_rows(values: ArrayLike, whose: str, names: Sequence[str] | None = None) -> tuple[NDArray[np.float32], int]:
    """Rows of unit norm, so that inner products are cosines. Rows of float32 that have it stay bit for bit as they are.

    Args:
        values: Shape (num_rows, dim), real numbers of any kind.
        whose: What they are of, for errors: `text`, `video`.
        names: What each row is called; by default its number.

    Returns:
        The rows, float32; and how many had another norm.

    Raises:
        InputError: This is not such an array, or a row is NaN, infinite or zero.
    """
    array = np.asarray(values)
    if array.ndim != 2 or 0 in array.shape or array.dtype.kind not in "fiu":
        raise InputError(
            f"{whose} must be numbers of shape (rows, dim), with a row or more; got {array.dtype} of shape "
            f"{array.shape}"
        )
    # Squares of float64 do not overflow for float16. A part at a time stays in a cache, and takes half the time.
    parts = [slice(start, start + _ROWS_AT_ONCE) for start in range(0, len(array), _ROWS_AT_ONCE)]
    norms = np.concatenate([np.linalg.norm(array[part].astype(np.float64), axis=1) for part in parts])
    wrong = np.flatnonzero(~(np.isfinite(norms) & (norms > 0)))
    if len(wrong):
        if len(array) == 1 and names is not None:
            raise InputError(f"{whose}: the embedding of {names[0]!r} is NaN, infinite or zero: it has no direction")
        first = ", ".join(str(row) if names is None else names[row] for row in wrong[:5].tolist())
        raise InputError(
            f"{whose}: {len(wrong)} of {len(array)} embeddings are NaN, infinite or zero, so that they have no "
            f"direction (first: {first}): leave these out, or repair what made them"
        )
    # Other types are converted, and so are not the same bits in any case.
    stays = np.abs(norms - 1) < ROUNDING if array.dtype == np.float32 else np.zeros(len(array), np.bool_)
    units = np.empty(array.shape, np.float32)  # new: the caller's array stays as it is
    for part in parts:
        scaled = array[part] if stays[part].all() else array[part].astype(np.float64) / norms[part, None]
        units[part] = np.where(stays[part, None], array[part], scaled)
    return units, int((np.abs(norms - 1) >= UNIT_TOLERANCE).sum())


def features_of_arrays(text: ArrayLike, video: ArrayLike, pairs: ArrayLike | None) -> tuple[Features, tuple[str, ...]]:
    """Arrays as a feature set. Rows are called by their numbers.

    Args:
        text: Shape (num_captions, dim).
        video: Shape (num_videos, dim).
        pairs: Shape (num_captions,): row of the video that each caption describes; or shape (num_captions, 2): rows of
            a caption and of its video, each caption once, in any order. None: caption i describes video i.

    Returns:
        The feature set, and sentences about what was changed.

    Raises:
        InputError: The arrays do not fit together, or embeddings have no direction.
    """
    found = {whose: unit_rows(values, whose) for whose, values in (("text", text), ("video", video))}
    (texts, _), (videos, _) = found["text"], found["video"]
    if texts.shape[1] != videos.shape[1]:
        raise InputError(f"text has {texts.shape[1]} dimensions and video {videos.shape[1]}: one model made neither")
    warnings = tuple(
        f"{num_scaled:,} of {len(rows):,} embeddings of {whose} were not of unit norm: all are scaled to it, so that "
        "scores are cosines"
        for whose, (rows, num_scaled) in found.items()
        if num_scaled
    )
    features = Features(
        video_ids=tuple(map(str, range(len(videos)))),
        video=videos,
        caption_ids=tuple(map(str, range(len(texts)))),
        text=texts,
        truth=_truth(pairs, len(texts), len(videos)),
        num_dropped=np.full(len(texts), -1, np.int64),
        num_videos_expected=len(videos),
        missing_video_ids=(),
        num_captions_expected=len(texts),
        alpha_cosine=np.full(len(videos), np.nan, np.float32),
        attributes={},
    )
    return features, warnings


def _truth(pairs: ArrayLike | None, num_texts: int, num_videos: int) -> NDArray[np.int64]:
    """Row of the video of each caption.

    >>> _truth([[1, 0], [0, 2]], 2, 3)
    array([2, 0])
    """
    if pairs is None:
        if num_texts != num_videos:
            raise InputError(
                f"there are {num_texts} captions and {num_videos} videos: say with `pairs` which video each describes"
            )
        return np.arange(num_texts)
    array = np.asarray(pairs)
    if array.dtype.kind not in "iu" or array.shape not in ((num_texts,), (num_texts, 2)):
        raise InputError(
            f"pairs must be whole numbers of shape ({num_texts},), the row of a video for each caption, or "
            f"({num_texts}, 2), rows of a caption and its video; got {array.dtype} of shape {array.shape}"
        )
    if array.ndim == 1:
        truth = array.astype(np.int64)
    else:
        caption, its_video = array.astype(np.int64).T
        if sorted(caption.tolist()) != list(range(num_texts)):
            raise InputError(
                f"pairs must name each of the captions 0..{num_texts - 1} once: a caption here describes one video"
            )
        truth = np.empty(num_texts, np.int64)
        truth[caption] = its_video
    outside = np.flatnonzero((truth < 0) | (truth >= num_videos))
    if len(outside):
        raise InputError(
            f"pairs must name videos in 0..{num_videos - 1}, but caption {outside[0]} has video {truth[outside[0]]}"
        )
    return truth
