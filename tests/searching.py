"""Stores to search: features made by hand, and a small set of real clips with features of a tiny model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import fda
from store.completion import input_digests
from store.feature_dtypes import FLOAT32, FeatureDtypes
from store.features import (
    ClipFeatures,
    TextFeatures,
    caption_shards,
    create_features,
    write_clip_features,
    write_text_features,
)
from store.json_values import JSON
from store.stages import FRAMES_STAGE, masks_stage
from store.store import Store
from tests.clips_on_disk import SMALL, write_small_dataset
from tests.encoders_tiny import write_config
from tests.stores import MASKS, NUM_FRAMES, fill_store, make_store, outcomes

DIM = 8
WEIGHTS: dict[str, JSON] = {"model": {"name": "by hand", "weights_sha256": "a" * 64}}
"""What made the features: no file has such weights."""


def unit(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(values / np.linalg.norm(values, axis=-1, keepdims=True), np.float32)


def random_frames(num_videos: int, seed: int = 0) -> NDArray[np.float32]:
    """Not of unit norm: shape (num_videos, NUM_FRAMES, DIM)."""
    return np.random.default_rng(seed).standard_normal((num_videos, NUM_FRAMES, DIM), np.float32)


def searchable(
    place: Path | str,
    frames: NDArray[np.float32],
    *,
    failed: frozenset[int] = frozenset(),
    made_by: Mapping[str, JSON] = WEIGHTS,
    dtypes: FeatureDtypes = FLOAT32,
) -> Store:
    """A store of so many videos with the features `mine`: a video is the mean of its frames, a caption its video."""
    store = make_store(place, len(frames))
    fill_store(store, failed)
    add_features(store, "mine", frames, failed=failed, made_by=made_by, dtypes=dtypes)
    return store


def add_features(
    store: Store,
    name: str,
    frames: NDArray[np.float32],
    *,
    failed: frozenset[int] = frozenset(),
    made_by: Mapping[str, JSON] = WEIGHTS,
    dtypes: FeatureDtypes = FLOAT32,
) -> None:
    create_features(store, name, "test", frames.shape[-1], made_by, dtypes)
    video = unit(np.nan_to_num(frames).mean(axis=1) + np.float32(1e-6))
    for shard in store.shards("test"):
        rows = slice(shard.start, shard.stop)
        gone = [row in failed for row in range(shard.start, shard.stop)]
        its_video, its_frames = video[rows].copy(), frames[rows].copy()
        its_video[gone], its_frames[gone] = np.nan, np.nan
        features = ClipFeatures(its_video, its_frames, outcomes(store, shard, failed), dtypes=dtypes)
        inputs = input_digests(store, shard, (FRAMES_STAGE, masks_stage(MASKS)))
        write_clip_features(store, name, shard, features, inputs)
    for shard in caption_shards(store, "test"):
        text = np.repeat(video, 2, axis=0)[shard.start : shard.stop]
        write_text_features(store, name, shard, TextFeatures(text, dtype=dtypes.vectors))


def encoded_clips(folder: Path) -> Path:
    """A store of real clips, 2 train and 4 test, with the features `mine` of a tiny model."""
    fda.preprocess(
        write_small_dataset(folder, {"train": 2, "test": 4}), folder / "store", SMALL, run=fda.RunOptions(workers=0)
    )
    model = fda.ModelSource(model=write_config(folder), pretrained="none")
    fda.encode(folder / "store", fda.EncodeOptions("mine", precision="fp32", sensitivity_every=0), model)
    return folder / "store"
