"""Shuffled batches of clips out of a store, against zarr-python over the same files and a memory-mapped npy."""

from __future__ import annotations

import tempfile
from pathlib import Path

import cv2
import numpy as np

from store.arrays.shards import open_array
from store.catalog import Catalog
from store.clips.layout import levels
from store.clips.reader import ClipReader
from store.clips.shards import ShardFrames, create_clip_arrays, create_mask_arrays, write_frames, write_masks
from store.commits import VideoOutcome
from store.growth import create_store
from store.places.opening import folder_at
from store.schema import Shard, SplitLayout, Video, VideoStatus
from store.store import Manifest, Store
from tests.benchmarks.measure import interleaved, print_ratios

NUM_VIDEOS, NUM_FRAMES, SIZE, BATCH, REPEATS = 128, 12, 224, 32, 5


def make_store(place: Path, num_videos: int = NUM_VIDEOS, num_frames: int = NUM_FRAMES, size: int = SIZE) -> Store:
    """A store of random frames, and masks with one square that moves: binary ones, and soft ones with blurred edges."""
    videos = [Video(f"video{row}", "test", row, f"{row}.mp4") for row in range(num_videos)]
    layout = SplitLayout(num_videos, 0, num_frames, size, size)
    manifest = Manifest({"name": "benchmark", "digest": ""}, 16, {"test": layout}, {}, {})
    store = create_store(folder_at(place), manifest, Catalog.of(videos, []))[0]
    create_clip_arrays(store, {})
    create_mask_arrays(store, "default", {"options": {}})
    create_mask_arrays(store, "soft", {"options": {}}, soft=True)
    for shard in store.shards("test"):
        _fill(store, shard)
    return store


def _fill(store: Store, shard: Shard) -> None:
    layout = store.layout("test")
    shape = (shard.num_rows, layout.num_frames)
    size = layout.height, layout.width
    frames = np.random.default_rng(shard.index).integers(0, 256, (*shape, *size, 3), dtype=np.uint8)
    masks = np.zeros((*shape, *size), dtype=np.bool_)
    for number in range(layout.num_frames):
        masks[:, number, 40:100, 8 * number : 8 * number + 60] = True
    outcomes = [
        VideoOutcome(video.video_id, video.row, VideoStatus.OK, filled=True)
        for video in store.catalog.shard_videos(shard)
    ]
    clips = ShardFrames(frames, np.zeros(shape), np.zeros(shape, np.int64))
    written = write_frames(store, shard, clips, outcomes)
    write_masks(store, shard, "default", masks, outcomes, written.clips.inputs)
    soft = np.stack([[cv2.GaussianBlur(levels(mask), (0, 0), 4) for mask in clip] for clip in masks])
    write_masks(store, shard, "soft", soft.astype(np.uint8), outcomes, written.clips.inputs)


def main() -> None:
    """Measure, and print the ratios."""
    with tempfile.TemporaryDirectory() as folder:
        store = make_store(Path(folder) / "store")
        reader, soft_reader = ClipReader(store, "test", "default"), ClipReader(store, "test", "soft")
        frames = open_array(store.folder, "clips.zarr/test/frames")
        masks = open_array(store.folder, "clips.zarr/test/masks/default")
        np.save(f"{folder}/frames.npy", frames[:])
        np.save(f"{folder}/masks.npy", masks[:])
        mapped_frames, mapped_masks = (np.load(f"{folder}/{name}.npy", mmap_mode="r") for name in ("frames", "masks"))
        rows = [int(row) for row in np.random.default_rng(0).permutation(NUM_VIDEOS)[:BATCH]]
        clips = reader.read(rows)
        np.testing.assert_array_equal(clips.frames, mapped_frames[rows])
        np.testing.assert_array_equal(clips.masks, mapped_masks[rows])
        seconds = interleaved(
            {
                "zarr-python": lambda: [(frames[row], masks[row]) for row in rows],
                "memory-mapped npy": lambda: (mapped_frames[rows], mapped_masks[rows]),
                "fda": lambda: reader.read(rows),
                "fda, soft masks": lambda: soft_reader.read(rows),
            },
            REPEATS,
        )
    print_ratios(f"shuffled batches of {BATCH} clips of {NUM_FRAMES} frames, with masks", seconds, "zarr-python")


if __name__ == "__main__":
    main()
