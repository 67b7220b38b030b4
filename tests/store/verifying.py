"""A store with everything in it, copies of it to damage, and `verify` on them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.masks.mask_sets import create_mask_set, plan_masks
from store.claims.holding import ANY_STAGE, claimed
from store.commits import CommitRecord, VideoOutcome, read_commit
from store.completion import input_digests, outcomes_of
from store.features import (
    ClipFeatures,
    TextFeatures,
    caption_shards,
    create_features,
    write_clip_features,
    write_text_features,
)
from store.places.opening import folder_at
from store.schema import Shard
from store.stages import FRAMES_STAGE, features_stage, masks_stage
from store.store import Store
from store.verify.findings import Kind
from store.verify.verification import Verification, repair, verify
from tests.clips_on_disk import SMALL, run_preprocess, write_mixed_dataset
from tests.mask_sets import make_mask_set
from tests.stores import committed

LOW = replace(SMALL.masks, threshold=9)
DIM = 4
FRAMES = "clips.zarr/test/frames/c.0.0.0.0.0"
LOW_MASKS = "clips.zarr/test/masks/low"
FIRST = "commits/test/frames/00000.parquet"


def make_features(store: Store) -> None:
    """What `fda encode` does, with vectors that only the row decides."""
    stages = [FRAMES_STAGE, masks_stage("low")]
    for split in store.manifest.splits:
        create_features(store, "mine", split, DIM, {"made by": "hand"})
        for shard in store.shards(split):
            if committed(store, shard, features_stage("mine", "video")) is None:
                write_videos(store, shard, stages)
        for shard in caption_shards(store, split):
            if committed(store, shard, features_stage("mine", "text")) is None:
                rows = np.arange(shard.start, shard.stop, dtype=np.float32)
                write_text_features(store, "mine", shard, TextFeatures(np.repeat(rows[:, None], DIM, axis=1)))


def write_videos(store: Store, shard: Shard, stages: list[str]) -> None:
    video = np.full((shard.num_rows, DIM), np.nan, np.float32)
    frame = np.full((shard.num_rows, store.layout(shard.split).num_frames, DIM), np.nan, np.float32)
    outcomes = []
    for slot, outcome in enumerate(outcomes_of(store, shard)):
        if outcome.filled:
            video[slot], frame[slot] = outcome.row, outcome.row
        outcomes.append(VideoOutcome(outcome.video_id, outcome.row, outcome.status, outcome.filled))
    write_clip_features(
        store, "mine", shard, ClipFeatures(video, frame, tuple(outcomes)), input_digests(store, shard, stages)
    )


def make_everything(manifest: Path, place: Path) -> Store:
    """Frames, two mask sets, features: the same calls make the store and repair it."""
    store = run_preprocess(manifest, place)
    create_mask_set(store, "low", LOW)
    make_mask_set(store, "low", LOW, plan_masks(store, "low"))
    make_features(store)
    return store


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_mixed_dataset(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def whole(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete store that no test changes."""
    place = tmp_path_factory.mktemp("whole") / "store"
    make_everything(manifest, place)
    (place / "runs").mkdir()
    return place


@pytest.fixture
def place(whole: Path, tmp_path: Path) -> Path:
    shutil.copytree(whole, tmp_path / "store")
    return tmp_path / "store"


def look(place: Path, *, is_quick: bool = False) -> Verification:
    return verify(folder_at(place), is_quick=is_quick)


def repair_under_claim(place: Path) -> None:
    with claimed(folder_at(place), "verify", [ANY_STAGE]) as folder:
        repair(folder, verify(folder).findings)


def flip(path: Path, bit: int = 77) -> None:
    content = bytearray(path.read_bytes())
    bit %= 8 * len(content)
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


def kinds(found: Verification) -> set[Kind]:
    return {finding.kind for finding in found.findings}


def write(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"{}")


def rewritten(
    place: Path, name: str, change: Callable[[CommitRecord], CommitRecord], stage: str = FRAMES_STAGE
) -> None:
    """Put another record, with a right seal, where the one of test/00000 lies."""
    store = Store.open(place)
    record = read_commit(store.folder, store.shards("test")[0], stage)
    assert record is not None
    store.folder.write(name, change(record).to_bytes())
