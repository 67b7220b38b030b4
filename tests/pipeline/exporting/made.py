"""A small store with all that makes exports difficult: ids that no file may be called, failed videos, short clips."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from store.catalog import Catalog
from store.clips.shards import ShardFrames, create_clip_arrays, create_mask_arrays, write_masks
from store.commits import VideoOutcome
from store.completion import input_digests
from store.features import (
    ClipFeatures,
    TextFeatures,
    caption_shards,
    create_features,
    write_clip_features,
    write_text_features,
)
from store.growth import create_store
from store.places.opening import folder_at
from store.schema import Caption, Shard, SplitLayout, Video, VideoStatus
from store.stages import FRAMES_STAGE, masks_stage
from store.store import Manifest, Store
from tests.stores import write_frames

DIM, NUM_FRAMES, SIZE, SHARD_SIZE = 5, 3, 8, 2
FEATURES, MASKS = "mine", "default"
FAILED = "gone"
SHORT = "a%2Fb"
"""It has a frame less than the others."""
IDS = {
    "train": ["a/b", SHORT, "-v.1.x", FAILED, "שלום עולם"],
    "test": ["..", "x" * 300, '<b>&"', "no captions"],
}
HOSTILE = ("<script>alert(1)</script> \u202etxt", "two\nlines, \U0001f98a", "long " * 1000)
FPS = 25.0


def captions_of(video_id: str) -> list[str]:
    """None, one or several; no two videos share one."""
    if video_id == "no captions":
        return []
    return [f"{video_id[:20]}: {text}" for text in HOSTILE[: 1 + len(video_id) % 3]]


def num_frames_of(video_id: str) -> int:
    return NUM_FRAMES - (video_id == SHORT)


def frames_of(video_id: str) -> NDArray[np.uint8]:
    """Smooth, so that a JPEG of them is nearly the same."""
    seed = sum(video_id.encode())
    steps = np.arange(SIZE, dtype=np.uint8)
    plane = np.stack(np.broadcast_arrays(steps[:, None] * 9 + seed % 50, steps * 11, np.uint8(90)), -1)
    frames = np.stack([plane + 20 * number for number in range(NUM_FRAMES)]).astype(np.uint8)
    frames[num_frames_of(video_id) :] = 0
    return frames


def masks_of(video_id: str) -> NDArray[np.bool_]:
    masks: NDArray[np.bool_] = frames_of(video_id)[..., 0] > 60
    return masks


def times_of(video_id: str) -> NDArray[np.float64]:
    return np.arange(num_frames_of(video_id)) / FPS + 0.5


def vector_of(name: str) -> NDArray[np.float32]:
    """Of unit norm, as float32 rounds it."""
    drawn = np.random.default_rng(list(name.encode())).normal(size=DIM).astype(np.float32)
    return drawn / np.linalg.norm(drawn)


def frame_vectors_of(video_id: str) -> NDArray[np.float32]:
    drawn = np.random.default_rng(list(video_id.encode())).normal(size=(NUM_FRAMES, DIM)).astype(np.float32)
    drawn[num_frames_of(video_id) :] = np.nan
    return drawn


def catalog() -> Catalog:
    videos = [
        Video(video_id, split, row, f"clips/{split}/{row}.mp4", category=None if row else "music")
        for split, ids in IDS.items()
        for row, video_id in enumerate(ids)
    ]
    captions = [
        Caption(f"{video_id}#{number}", video_id, split, row, text)
        for split, ids in IDS.items()
        for row, (video_id, number, text) in enumerate(
            (video_id, number, text) for video_id in ids for number, text in enumerate(captions_of(video_id))
        )
    ]
    return Catalog.of(videos, captions)


def make(place: Path) -> Store:
    """The store, complete, with one mask set and one feature set."""
    rows = catalog()
    splits = {
        split: SplitLayout(len(ids), sum(len(captions_of(one)) for one in ids), NUM_FRAMES, SIZE, SIZE)
        for split, ids in IDS.items()
    }
    manifest = Manifest(
        {"name": "made by hand", "digest": rows.digest()}, SHARD_SIZE, splits, {"image_size": SIZE}, {"numpy": "2"}
    )
    store = create_store(folder_at(place), manifest, rows)[0]
    create_clip_arrays(store, {"made by": "hand"})
    create_mask_arrays(store, MASKS, {"options": {"threshold": 25}})
    for split in IDS:
        create_features(store, FEATURES, split, DIM, {"pooling": "mean"})
        for shard in store.shards(split):
            write_clips(store, shard)
            write_videos(store, shard)
        texts = rows.split_captions(split)["caption_id"].to_pylist()
        for shard in caption_shards(store, split):
            write_text_features(store, FEATURES, shard, TextFeatures(np.stack([vector_of(text) for text in texts])))
    return store


def outcomes(store: Store, shard: Shard) -> tuple[VideoOutcome, ...]:
    made = []
    for video in store.catalog.shard_videos(shard):
        is_there = video.video_id != FAILED
        status = VideoStatus.OK if is_there else VideoStatus.CORRUPT
        fps = FPS if is_there and video.row else None
        made.append(VideoOutcome(video.video_id, video.row, status, is_there, fps=fps, duration_seconds=fps))
    return tuple(made)


def write_clips(store: Store, shard: Shard) -> None:
    ids = [video.video_id for video in store.catalog.shard_videos(shard)]
    ended = outcomes(store, shard)
    shape = (len(ids), NUM_FRAMES)
    frames, masks = np.zeros((*shape, SIZE, SIZE, 3), np.uint8), np.zeros((*shape, SIZE, SIZE), np.bool_)
    times, index = np.full(shape, np.nan), np.full(shape, -1)
    for slot, video_id in enumerate(ids):
        if video_id != FAILED:
            num = num_frames_of(video_id)
            frames[slot], masks[slot] = frames_of(video_id), masks_of(video_id)
            times[slot, :num], index[slot, :num] = times_of(video_id), np.arange(num)
    written = write_frames(store, shard, ShardFrames(frames, times, index), ended)
    of_masks = [
        replace(one, num_masks=NUM_FRAMES, mask_coverage=0.25, num_empty_masks=1, num_full_masks=0, camera_motion=True)
        if one.filled
        else one
        for one in ended
    ]
    write_masks(store, shard, MASKS, masks, of_masks, written.clips.inputs)


def write_videos(store: Store, shard: Shard) -> None:
    ids = [video.video_id for video in store.catalog.shard_videos(shard)]
    video = np.stack([vector_of(one) if one != FAILED else np.full(DIM, np.nan, np.float32) for one in ids])
    frame = np.stack([frame_vectors_of(one) for one in ids])
    frame[[one == FAILED for one in ids]] = np.nan
    made = ClipFeatures(video, frame, outcomes(store, shard))
    inputs = input_digests(store, shard, (FRAMES_STAGE, masks_stage(MASKS)))
    write_clip_features(store, FEATURES, shard, made, inputs)


def exported_ids(*splits: str) -> list[str]:
    """Of the videos that an export has."""
    return [one for split in splits or IDS for one in IDS[split] if one != FAILED]
