"""Feature sets of one split, cut to what all of them have, so that each query is asked of the same gallery."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from store.features import Features


class CaptionsDifferError(ValueError):
    """Feature sets do not have the same captions of the same videos: there is nothing to pair."""


def pair(sets: Mapping[str, Features]) -> dict[str, Features]:
    """Cut feature sets to the videos that all have, and their captions, in the order of the first.

    Args:
        sets: By name; paired by `video_id` and `caption_id`.

    Raises:
        CaptionsDifferError: A caption of such a video is not in all sets, or describes another video in one.
    """
    common = set.intersection(*(set(one.video_ids) for one in sets.values()))
    first_name, first = next(iter(sets.items()))
    described = {name: _described(one, common) for name, one in sets.items()}
    for name, theirs in described.items():
        _check_same(first_name, described[first_name], name, theirs)
    video_ids = tuple(video_id for video_id in first.video_ids if video_id in common)
    caption_ids = tuple(described[first_name])
    return {name: _cut(one, video_ids, caption_ids, described[name]) for name, one in sets.items()}


def _described(features: Features, common: set[str]) -> dict[str, str]:
    """Caption -> the video that it describes, for the captions of some videos."""
    owners = (features.video_ids[row] for row in features.truth.tolist())
    pairs = zip(features.caption_ids, owners, strict=True)
    return {caption_id: video_id for caption_id, video_id in pairs if video_id in common}


def _check_same(first_name: str, first: Mapping[str, str], name: str, other: Mapping[str, str]) -> None:
    """Refuse captions that are not the same.

    Raises:
        CaptionsDifferError: See `pair`.
    """
    wrong = sorted(caption_id for caption_id in {*first, *other} if first.get(caption_id) != other.get(caption_id))
    if not wrong:
        return
    says = [
        f"{set_name!r} has it of {owners[wrong[0]]!r}" if wrong[0] in owners else f"{set_name!r} has it not"
        for set_name, owners in ((first_name, first), (name, other))
    ]
    raise CaptionsDifferError(
        f"features {first_name!r} and {name!r} are not of the same captions: {len(wrong)} differ, the first is "
        f"{wrong[0]!r}: {', '.join(says)}. Encode both anew from one catalogue"
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
