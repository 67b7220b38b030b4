"""Facts in a store about the videos and captions of a feature set, as columns in the order of its rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from store.commits import VideoOutcome
from store.completion import outcomes_of_each
from store.features import Features
from store.stages import FRAMES_STAGE, masks_stage
from store.store import Store


@dataclass(frozen=True, slots=True)
class SplitFacts:
    """Facts of the videos and captions of `Features`, in their order; NaN if not known."""

    mask_name: str | None
    """The mask set of the numbers of masks."""
    coverage: NDArray[np.float64]
    """Shape (num_videos,), like all below but for `texts`: mean share of the picture that a mask covers, 0..1."""
    num_masks: NDArray[np.float64]
    num_empty: NDArray[np.float64]
    num_full: NDArray[np.float64]
    camera_motion: NDArray[np.float64]
    """1 if the camera moves, 0 if it does not."""
    duration_seconds: NDArray[np.float64]
    categories: tuple[str | None, ...]
    texts: tuple[str, ...]
    """Texts of the captions, in the order of `Features.caption_ids`."""


def split_facts(store: Store, features: Features, split: str, mask_name: str | None = None) -> SplitFacts:
    """Collect the facts of a feature set's videos and captions.

    Args:
        store: The store.
        features: Features in that store.
        split: The split of the features.
        mask_name: The mask set; by default the one that the features were made from, if they name one.

    Raises:
        ShardIncompleteError: Frames or masks are not complete.
    """
    named = mask_name or mask_name_of(features)
    frames = _outcomes(store, split, FRAMES_STAGE)
    masks = _outcomes(store, split, masks_stage(named)) if named else {}

    def column(outcomes: Mapping[str, VideoOutcome], field: str) -> NDArray[np.float64]:
        values = [getattr(outcomes.get(video_id), field, None) for video_id in features.video_ids]
        return np.array([np.nan if value is None else value for value in values], np.float64)

    # The catalogue has all videos of the split, features only those with a clip: matched by id, never by row.
    videos = store.catalog.split_videos(split)
    categories = dict(zip(videos["video_id"].to_pylist(), videos["category"].to_pylist(), strict=True))
    return SplitFacts(
        mask_name=named,
        coverage=column(masks, "mask_coverage"),
        num_masks=column(masks, "num_masks"),
        num_empty=column(masks, "num_empty_masks"),
        num_full=column(masks, "num_full_masks"),
        camera_motion=column(masks, "camera_motion"),
        duration_seconds=column(frames, "duration_seconds"),
        categories=tuple(categories[video_id] for video_id in features.video_ids),
        texts=caption_texts(store, features, split),
    )


def mask_name_of(features: Features) -> str | None:
    """The mask set that features were made from; None if they do not name one."""
    masks = features.attributes.get("masks")
    name = masks.get("name") if isinstance(masks, Mapping) else None
    return name if isinstance(name, str) else None


def caption_texts(store: Store, features: Features, split: str) -> tuple[str, ...]:
    """The texts of a feature set's captions, in their order."""
    captions = store.catalog.split_captions(split)
    texts = dict(zip(captions["caption_id"].to_pylist(), captions["text"].to_pylist(), strict=True))
    return tuple(texts[caption_id] for caption_id in features.caption_ids)


def _outcomes(store: Store, split: str, stage: str) -> dict[str, VideoOutcome]:
    outcomes = outcomes_of_each(store, store.shards(split), stage)
    return {outcome.video_id: outcome for of_shard in outcomes for outcome in of_shard}
