"""A store of known facts for slices: coverage of masks, durations, categories and captions as a test wants them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pipeline.evaluation.ranking import Ranking, rank
from pipeline.evaluation.scores.dot import DotScores
from store.catalog import Catalog
from store.clips.shards import ShardFrames, create_clip_arrays, create_mask_arrays, write_masks
from store.completion import input_digests
from store.features import (
    ClipFeatures,
    TextFeatures,
    caption_shards,
    create_features,
    read_features,
    write_clip_features,
    write_text_features,
)
from store.growth import create_store
from store.json_values import JSON
from store.places.opening import folder_at
from store.schema import Caption, SplitLayout, Video
from store.stages import FRAMES_STAGE, masks_stage
from store.store import Store
from tests.stores import MASKS, NUM_FRAMES, clip_frames, clip_masks, make_manifest, outcomes, write_frames


@dataclass(frozen=True)
class Known:
    """What is known of one video."""

    texts: Sequence[str]
    coverage: float | None = 0.5
    num_empty: int = 0
    num_full: int = 0
    camera_motion: bool | None = False
    seconds: float | None = 10.0
    category: str | None = None


def known_store(place: Path, known: Sequence[Known], video: np.ndarray, text: np.ndarray) -> Store:
    """A store of these videos, with the features `mine`: one row a video, and one a caption."""
    videos = [Video(f"-v_{row}", "test", row, f"{row}.mp4", category=one.category) for row, one in enumerate(known)]
    texts = [(owner.video_id, text) for owner, one in zip(videos, known, strict=True) for text in one.texts]
    captions = [Caption(f"c{row}", owner, "test", row, text) for row, (owner, text) in enumerate(texts)]
    manifest = make_manifest(len(known))
    layout = manifest.splits["test"]
    manifest = replace(
        manifest,
        splits={"test": SplitLayout(len(videos), len(captions), layout.num_frames, layout.height, layout.width)},
    )
    store = create_store(folder_at(place), manifest, Catalog.of(videos, captions))[0]
    create_clip_arrays(store, {"made by": "hand"})
    create_mask_arrays(store, MASKS, {"options": {"threshold": 25}})
    attributes: dict[str, JSON] = {"masks": {"name": MASKS, "options": {"threshold": 25}}}
    create_features(store, "mine", "test", video.shape[1], attributes)
    for shard in store.shards("test"):
        rows = range(shard.start, shard.stop)
        plain = outcomes(store, shard)
        times = np.tile(np.arange(NUM_FRAMES) / 25, (len(rows), 1))
        index = np.tile(np.arange(NUM_FRAMES), (len(rows), 1))
        clips = ShardFrames(np.stack([clip_frames(row) for row in rows]), times, index)
        timed = [replace(one, duration_seconds=known[one.row].seconds) for one in plain]
        inputs = write_frames(store, shard, clips, timed).clips.inputs
        masked = [
            replace(
                one,
                num_masks=None if known[one.row].coverage is None else NUM_FRAMES,
                mask_coverage=known[one.row].coverage,
                num_empty_masks=known[one.row].num_empty,
                num_full_masks=known[one.row].num_full,
                camera_motion=known[one.row].camera_motion,
            )
            for one in plain
        ]
        write_masks(store, shard, MASKS, np.stack([clip_masks(row) for row in rows]), masked, inputs)
        features = video[shard.start : shard.stop].astype(np.float32)
        digests = input_digests(store, shard, (FRAMES_STAGE, masks_stage(MASKS)))
        frame = np.repeat(features[:, None], NUM_FRAMES, axis=1)
        write_clip_features(store, "mine", shard, ClipFeatures(features, frame, plain), digests)
    for shard in caption_shards(store, "test"):
        write_text_features(store, "mine", shard, TextFeatures(text[shard.start : shard.stop].astype(np.float32)))
    return store


def known_ranking(store: Store) -> tuple[Ranking, DotScores]:
    """The features of `known_store`, ranked."""
    features = read_features(store, "mine", "test")
    scores = DotScores(features.text, features.video)
    return rank(features, scores), scores
