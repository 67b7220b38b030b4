"""`fda verify` against reading the same files and looking at nothing; and what the structure of a shard costs."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from store.catalog import Catalog
from store.clips.shards import ShardFrames, create_clip_arrays, create_mask_arrays, write_masks
from store.commits import VideoOutcome
from store.growth import create_store
from store.places.folder import StoreFolder
from store.places.opening import folder_at
from store.schema import Caption, SplitLayout, Video, VideoStatus
from store.store import Manifest, Store
from store.verify.reading import BUFFER_BYTES
from store.verify.verification import LOCAL_THREADS, verify
from tests.benchmarks.measure import interleaved, print_ratios
from tests.benchmarks.quoted import quote
from tests.stores import write_frames

NUM_FRAMES, SHARD_SIZE = 12, 16
PLAIN, OURS = "plain read, one thread", "fda verify"


def make_store(place: Path, num_videos: int, size: int) -> Store:
    """A store of random frames, masks with one square that moves, and a digest that fits."""
    videos = [Video(f"video{row}", "test", row, f"{row}.mp4") for row in range(num_videos)]
    captions = [Caption(f"video{row}#0", f"video{row}", "test", row, f"text {row}") for row in range(num_videos)]
    catalog = Catalog.of(videos, captions)
    layout = SplitLayout(num_videos, num_videos, NUM_FRAMES, size, size)
    manifest = Manifest({"name": "benchmark", "digest": catalog.digest()}, SHARD_SIZE, {"test": layout}, {}, {})
    store = create_store(folder_at(place), manifest, catalog)[0]
    create_clip_arrays(store, {"software": {}, "options": {}})
    create_mask_arrays(store, "default", {})
    masks = np.zeros((SHARD_SIZE, NUM_FRAMES, size, size), dtype=np.bool_)
    masks[..., : size // 2, : size // 2] = True
    shape = (SHARD_SIZE, NUM_FRAMES)
    frames = np.random.default_rng(0).integers(1, 256, (*shape, size, size, 3), dtype=np.uint8)
    for shard in store.shards("test"):
        outcomes = [
            VideoOutcome(f"video{row}", row, VideoStatus.OK, filled=True) for row in range(shard.start, shard.stop)
        ]
        clips = ShardFrames(frames, np.zeros(shape), np.zeros(shape, np.int64))
        written = write_frames(store, shard, clips, outcomes)
        write_masks(store, shard, "default", masks, outcomes, written.clips.inputs)
    return store


def read_all(folder: StoreFolder, names: list[str], num_threads: int = LOCAL_THREADS) -> None:
    """Read files into buffers of the same size, and look at nothing."""

    def read(name: str) -> None:
        file, buffer = folder.open(name), np.empty(BUFFER_BYTES, dtype=np.uint8)
        assert file is not None
        for offset in range(0, file.num_bytes, BUFFER_BYTES):
            file.fill(offset, [buffer[: file.num_bytes - offset]])

    with ThreadPoolExecutor(num_threads) as pool:
        list(pool.map(read, names))


def forget(folder: StoreFolder, names: list[str]) -> None:
    """Have the system read files from the disk the next time."""
    for name in names:
        descriptor = os.open(Path(folder.place) / name, os.O_RDONLY)
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def cold(folder: StoreFolder, names: list[str], work: Callable[[], object]) -> float:
    """Seconds that something takes when no file of the store is in memory."""
    forget(folder, names)
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main(*, quick: bool = False) -> None:
    """Measure, and print the ratios."""
    with tempfile.TemporaryDirectory() as folder:
        store = make_store(Path(folder) / "store", 2 * SHARD_SIZE if quick else 16 * SHARD_SIZE, 224)
        files = list(store.folder.walk())
        names = [stored.name for stored in files]
        assert not verify(store.folder).findings
        num_times = 1 if quick else 5
        jobs: dict[str, Callable[[], object]] = {
            PLAIN: lambda: read_all(store.folder, names, 1),
            f"plain read, {LOCAL_THREADS} threads": lambda: read_all(store.folder, names),
            OURS: lambda: verify(store.folder),
        }
        seconds = interleaved(jobs, num_times)
        num_bytes = sum(stored.num_bytes for stored in files)
        print_ratios(f"verifying {num_bytes / 2**30:.1f} GiB in the page cache", seconds, PLAIN)
        rounds = [{name: cold(store.folder, names, job) for name, job in jobs.items()} for _ in range(num_times)]
        on_disk = {name: statistics.median(one[name] for one in rounds) for name in jobs}
        print_ratios(f"verifying {num_bytes / 2**30:.1f} GiB on the disk", on_disk, PLAIN)
        quote("verify.cache", seconds[PLAIN] / seconds[OURS], at_least=0.7)
        quote("verify.disk", on_disk[PLAIN] / on_disk[OURS], at_least=0.7)
    with tempfile.TemporaryDirectory() as folder:
        store = make_store(Path(folder) / "store", SHARD_SIZE * (4 if quick else 1000), 4)
        num_shards = len(store.shards("test"))
        start = time.perf_counter()
        assert not verify(store.folder, is_quick=True).findings
        took = time.perf_counter() - start
        print(f"--quick: {1000 * took / num_shards:.2f} ms a shard of two stages ({num_shards} shards)")


if __name__ == "__main__":
    main()
