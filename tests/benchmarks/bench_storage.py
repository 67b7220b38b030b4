"""How clips are stored: size, writing and reading by codec and shard size, and what JPEG does to embeddings.

`python -m tests.benchmarks.bench_storage [STORE]`: with the clips of a store's split `test`, or, without one, with
textures that move. `--embeddings` compares image features too, of a ViT-B/32 with random weights.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray

from encoders.encoding.encoder import Encoder
from encoders.weights.loading import load_model
from store.arrays.codec_names import FRAME_CODECS, CodecName
from store.arrays.shards import open_array
from store.catalog import Catalog
from store.clips.reader import ClipReader
from store.clips.shards import ShardFrames, create_clip_arrays, create_mask_arrays, read_frames, write_masks
from store.commits import VideoOutcome
from store.growth import create_store
from store.places.opening import folder_at
from store.schema import Shard, SplitLayout, Video, VideoStatus
from store.store import Manifest, Store
from tests.stores import write_frames
from tests.videos import textured_frames

NUM_VIDEOS, SHARD_SIZES, BATCH, REPEATS = 64, (16, 64), 32, 2


def made_clips(num_clips: int) -> NDArray[np.uint8]:
    """Textures that move, shape (num_clips, 12, 224, 224, 3)."""
    return np.stack([textured_frames(12, height=224, width=224, seed=seed) for seed in range(num_clips)])


def stored_clips(place: str, num_clips: int) -> NDArray[np.uint8]:
    """Clips out of a store, again and again where it has too few."""
    store = Store.open(place)
    frames = np.concatenate([read_frames(store, shard).frames for shard in store.shards("test")])
    filled = frames[frames.any(axis=(1, 2, 3, 4))]
    return filled[np.arange(num_clips) % len(filled)]


def empty_store(place: Path, codec: CodecName, shard_size: int, frames: NDArray[np.uint8]) -> Store:
    """A store of that codec and shard size, without data."""
    shutil.rmtree(place, ignore_errors=True)
    num_videos, num_frames, height, width = frames.shape[:4]
    videos = [Video(f"video{row}", "test", row, f"{row}.mp4") for row in range(num_videos)]
    layout = SplitLayout(num_videos, 0, num_frames, height, width)
    manifest = Manifest({"name": "benchmark", "digest": ""}, shard_size, {"test": layout}, {}, {}, codec)
    store = create_store(folder_at(place), manifest, Catalog.of(videos, []))[0]
    create_clip_arrays(store, {})
    create_mask_arrays(store, "default", {})
    return store


def fill(store: Store, frames: NDArray[np.uint8]) -> float:
    """Write all frames, and masks that are empty; return the seconds that the frames took."""
    seconds = 0.0
    for shard in store.shards("test"):
        clips, outcomes = frames[shard.start : shard.stop], _outcomes(store, shard)
        times = np.zeros(clips.shape[:2])
        start = time.perf_counter()
        written = write_frames(store, shard, ShardFrames(clips, times, times.astype(np.int64)), outcomes)
        seconds += time.perf_counter() - start
        masks = np.zeros(clips.shape[:4], dtype=np.bool_)
        write_masks(store, shard, "default", masks, outcomes, written.clips.inputs)
    return seconds


def _outcomes(store: Store, shard: Shard) -> list[VideoOutcome]:
    videos = store.catalog.shard_videos(shard)
    return [VideoOutcome(video.video_id, video.row, VideoStatus.OK, filled=True) for video in videos]


def timed_reads(store: Store, shuffled: list[int]) -> tuple[float, float, float]:
    """Seconds to read as many clips as `shuffled` has: whole shards, shuffled, and shuffled by zarr-python."""
    reader, array = ClipReader(store, "test", "default"), open_array(store.folder, "clips.zarr/test/frames")
    shards = store.shards("test")
    start = time.perf_counter()
    num_read = sum(len(read_frames(store, shard).frames) for shard in shards)
    whole = (time.perf_counter() - start) * len(shuffled) / num_read
    start = time.perf_counter()
    reader.read(shuffled)
    random = time.perf_counter() - start
    start = time.perf_counter()
    for row in shuffled:
        array[row]
    return whole, random, time.perf_counter() - start


def compare_codecs(frames: NDArray[np.uint8], repeats: int) -> None:
    """Print a line a codec and shard size; codecs take turns, so that a machine that slows down slows all."""
    shuffled = [int(row) for row in np.random.default_rng(0).permutation(len(frames))[:BATCH]]
    cases = [(codec, size) for codec in FRAME_CODECS for size in SHARD_SIZES]
    times: dict[tuple[str, int], list[tuple[float, ...]]] = {case: [] for case in cases}
    sizes: dict[tuple[str, int], float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(repeats):
            for codec, size in cases:
                store = empty_store(Path(folder) / "store", codec, size, frames)
                times[codec, size].append((fill(store, frames), *timed_reads(store, shuffled)))
                files = (Path(store.place) / "clips.zarr/test/frames").glob("c.*")
                sizes[codec, size] = sum(file.stat().st_size for file in files) / len(frames) / 1024
    print(f"\n{len(frames)} clips of shape {frames.shape[1:]}; reading in clips a second")
    print(f"  {'codec':8}{'shard':>6}{'KiB/clip':>10}{'write MB/s':>12}{'whole':>8}{'shuffled':>10}{'by zarr':>9}")
    for codec, size in cases:
        write, *reads = (median(values) for values in zip(*times[codec, size], strict=True))
        speeds = [len(shuffled) / seconds for seconds in reads]
        print(
            f"  {codec:8}{size:6}{sizes[codec, size]:10.1f}{frames.nbytes / 1e6 / write:12.0f}"
            f"{speeds[0]:8.0f}{speeds[1]:10.0f}{speeds[2]:9.0f}"
        )


def compare_embeddings(frames: NDArray[np.uint8], model: str = "ViT-B-32-quickgelu") -> None:
    """Print the cosine between features of raw and of JPEG frames, the masks all ones."""
    with tempfile.TemporaryDirectory() as folder:
        store = empty_store(Path(folder) / "store", "jpeg", len(frames), frames)
        times = np.zeros(frames.shape[:2])
        shard = store.shards("test")[0]
        clips = ShardFrames(frames, times, times.astype(np.int64))
        lossy = write_frames(store, shard, clips, _outcomes(store, shard)).clips.frames
    encoder = Encoder(load_model(model, "none", None, seed=0).model)
    ones = np.ones(frames.shape[:4], dtype=np.bool_)
    raw, jpeg = (encoder.encode_clips(each, ones) for each in (frames, lossy))
    pairs = raw.frame.reshape(-1, raw.frame.shape[-1]), jpeg.frame.reshape(-1, jpeg.frame.shape[-1])
    frame = np.sum(pairs[0] * pairs[1], axis=1) / np.linalg.norm(pairs[0], axis=1) / np.linalg.norm(pairs[1], axis=1)
    video = np.sum(raw.video * jpeg.video, axis=1)
    print(f"\nimage features of JPEG frames against raw, {model} with random weights, {len(frames)} clips: cosine")
    for name, cosine in (("frames", frame), ("clips", video)):
        print(f"  {name:8} mean {cosine.mean():.6f}  least {cosine.min():.6f}")
    print(f"  pixels: mean difference {np.abs(frames.astype(np.int16) - lossy).mean():.2f} grey levels")


def main(*, quick: bool = False, place: str | None = None, embeddings: bool = False) -> None:
    """Measure, and print the tables."""
    num_videos = 16 if quick else NUM_VIDEOS
    frames = made_clips(num_videos) if place is None else stored_clips(place, num_videos)
    compare_codecs(frames, 1 if quick else REPEATS)
    if embeddings:
        compare_embeddings(frames[:16])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("store", nargs="?", help="whose clips to take instead of made ones")
    parser.add_argument("--embeddings", action="store_true")
    arguments = parser.parse_args()
    main(place=arguments.store, embeddings=arguments.embeddings)
