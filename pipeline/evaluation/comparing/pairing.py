"""Reduce feature sets of one split to the videos that all of them have, so that each query has the same candidates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from pipeline.errors import PipelineError
from pipeline.evaluation.evaluate import TooManyMissingError
from pipeline.run.limits import Limit
from pipeline.run.words import plural
from store.features import Features


class CaptionsDifferError(PipelineError, ValueError):
    """Feature sets have different captions for the same videos, so that their queries cannot be paired."""


def pair(sets: Mapping[str, Features]) -> dict[str, Features]:
    """Reduce feature sets to the videos that all of them have, and their captions, in the order of the first set.

    Args:
        sets: Name -> features; paired by `video_id` and `caption_id`, never by row.

    Raises:
        CaptionsDifferError: A caption of such a video is missing in one set, or describes another video there.
    """
    common = set.intersection(*(set(one.video_ids) for one in sets.values()))
    first_name, first = next(iter(sets.items()))
    described = {name: _described(one, common) for name, one in sets.items()}
    for name, theirs in described.items():
        _check_same(first_name, described[first_name], name, theirs)
    video_ids = tuple(video_id for video_id in first.video_ids if video_id in common)
    caption_ids = tuple(described[first_name])
    return {name: _cut(one, video_ids, caption_ids, described[name]) for name, one in sets.items()}


def require_enough(common: Features, split: str, max_missing: Limit) -> None:
    """Refuse to compare sets that have too few videos in common.

    Raises:
        TooManyMissingError: They have.
    """
    num_videos, num_expected = len(common.video_ids), common.num_videos_expected
    missing = (num_expected - num_videos) / num_expected
    if num_expected - num_videos > max_missing(num_expected) or not len(common.truth):
        raise TooManyMissingError(
            f"{num_expected - num_videos} of {plural(num_expected, 'video')} of split {split!r} ({missing:.1%}) lack "
            f"features in one set or another, over the limit of {max_missing}: encode what is missing, or raise "
            "--max-missing to compare on the rest"
        )


def _described(features: Features, common: set[str]) -> dict[str, str]:
    """Caption id -> id of the video that it describes, for the captions of the `common` videos."""
    owners = (features.video_ids[row] for row in features.truth.tolist())
    pairs = zip(features.caption_ids, owners, strict=True)
    return {caption_id: video_id for caption_id, video_id in pairs if video_id in common}


def _check_same(first_name: str, first: Mapping[str, str], name: str, other: Mapping[str, str]) -> None:
    """Refuse sets whose captions differ.

    Raises:
        CaptionsDifferError: See `pair`.
    """
    # Sorted, so that the message names the same caption in every run: the order of a set of strings is random.
    wrong = sorted(caption_id for caption_id in {*first, *other} if first.get(caption_id) != other.get(caption_id))
    if not wrong:
        return
    owners_of_first = [
        f"{set_name!r} has it for {owners[wrong[0]]!r}" if wrong[0] in owners else f"{set_name!r} does not have it"
        for set_name, owners in ((first_name, first), (name, other))
    ]
    raise CaptionsDifferError(
        f"features {first_name!r} and {name!r} have different captions: {len(wrong)} differ, the first is "
        f"{wrong[0]!r}: {', '.join(owners_of_first)}. Encode both again from one catalogue"
    )


def _cut(
    features: Features, video_ids: tuple[str, ...], caption_ids: tuple[str, ...], described: Mapping[str, str]
) -> Features:
    video_row = {video_id: row for row, video_id in enumerate(features.video_ids)}
    caption_row = {caption_id: row for row, caption_id in enumerate(features.caption_ids)}
    place = {video_id: number for number, video_id in enumerate(video_ids)}
    videos = [video_row[video_id] for video_id in video_ids]
    captions = [caption_row[caption_id] for caption_id in caption_ids]
    return replace(
        features,
        video_ids=video_ids,
        video=features.video[videos],
        caption_ids=caption_ids,
        text=features.text[captions],
        truth=np.array([place[described[caption_id]] for caption_id in caption_ids], np.int64),
        num_dropped=features.num_dropped[captions],
        missing_video_ids=(*features.missing_video_ids, *(one for one in features.video_ids if one not in place)),
        alpha_cosine=features.alpha_cosine[videos],
    )
