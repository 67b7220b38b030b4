"""Shuffled batches of clips out of a store, against zarr-python over the same files and a memory-mapped npy."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from store.arrays.shards import open_array
from store.catalog import Catalog
from store.clips.layout import levels
from store.clips.reader import ClipReader
from store.clips.shards import ShardFrames, create_clip_arrays, create_mask_arrays, write_masks
from store.commits import VideoOutcome
from store.growth import create_store
from store.places.opening import folder_at
from store.schema import Shard, SplitLayout, Video, VideoStatus
from store.store import Manifest, Store
from tests.benchmarks.measure import interleaved_costs, print_ratios, timed
from tests.benchmarks.quoted import quote
from tests.stores import write_frames

NUM_VIDEOS, NUM_FRAMES, SIZE, BATCH, REPEATS = 128, 12, 224, 32, 15


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


def preadv_rows(paths: Sequence[Path], like: Sequence[NDArray[np.generic]], rows: Sequence[int]) -> None:
    """What the system alone takes: the same bytes out of npy files, by a call a row, into arrays of a batch.

    Args:
        paths: The files.
        like: What is in each, shape (num_videos, ...).
        rows: To read.
    """
    for path, whole in zip(paths, like, strict=True):
        batch = np.empty((len(rows), *whole.shape[1:]), whole.dtype)
        with path.open("rb") as file:
            start = path.stat().st_size - whole.nbytes
            for row, out in zip(rows, batch, strict=True):
                os.preadv(file.fileno(), [out.reshape(-1).view(np.uint8).data], start + row * out.nbytes)


def main() -> None:
    """Measure, and print the ratios: of a clock, where `fda` reads in threads, and of processor time, in one."""
    with tempfile.TemporaryDirectory() as folder:
        store = make_store(Path(folder) / "store")
        reader, soft_reader = ClipReader(store, "test", "default"), ClipReader(store, "test", "soft")
        one_thread = ClipReader(store, "test", "default", num_threads=1)
        frames = open_array(store.folder, "clips.zarr/test/frames")
        masks = open_array(store.folder, "clips.zarr/test/masks/default")
        paths = [Path(folder) / "frames.npy", Path(folder) / "masks.npy"]
        np.save(paths[0], frames[:])
        np.save(paths[1], masks[:])
        mapped_frames, mapped_masks = (np.load(path, mmap_mode="r") for path in paths)
        rows = [int(row) for row in np.random.default_rng(0).permutation(NUM_VIDEOS)[:BATCH]]
        clips = reader.read(rows)
        np.testing.assert_array_equal(clips.frames, mapped_frames[rows])
        np.testing.assert_array_equal(clips.masks, mapped_masks[rows])
        new_readers = iter([ClipReader(store, "test", "default", num_threads=1) for _ in range(REPEATS + 1)])
        costs = interleaved_costs(
            {
                "zarr-python": timed(lambda: [(frames[row], masks[row]) for row in rows]),
                "memory-mapped npy": timed(lambda: (mapped_frames[rows], mapped_masks[rows])),
                "preadv of npy": timed(lambda: preadv_rows(paths, [mapped_frames, mapped_masks], rows)),
                "fda": timed(lambda: reader.read(rows)),
                "fda, soft masks": timed(lambda: soft_reader.read(rows)),
                "fda, one thread": timed(lambda: one_thread.read(rows)),
                "fda, one thread, first epoch": timed(lambda: next(new_readers).read(rows)),
            },
            REPEATS,
        )
    title = f"shuffled batches of {BATCH} clips of {NUM_FRAMES} frames, with masks"
    print_ratios(title, {name: cost.wall_seconds for name, cost in costs.items()}, "zarr-python")
    title += ", processor time"
    taken = {name: cost.cpu_seconds for name, cost in costs.items()}
    print_ratios(title, taken, "memory-mapped npy")
    for epoch, method in (("later", "fda, one thread"), ("first", "fda, one thread, first epoch")):
        quote(f"reading.zarr_{epoch}", taken["zarr-python"] / taken[method], at_least=5)
        quote(f"reading.npy_{epoch}", taken["memory-mapped npy"] / taken[method], at_least=1)
    quote("reading.batch_ms", 1e3 * taken["fda, one thread"], "ms")
    quote("reading.preadv_ms", 1e3 * taken["preadv of npy"], "ms")


if __name__ == "__main__":
    main()
