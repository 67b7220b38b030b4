"""`fda export --format parquet` against plain writes of as many bytes to the same disk; and what memory exports take.

The store has 20 captions a video, as MSR-VTT has, and vectors of 512 numbers. Target: 70% of the disk's rate.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from pipeline.exporting.options import ExportFormat, ExportOptions
from pipeline.exporting.run import export
from store.catalog import Catalog
from store.clips.shards import ShardFrames, create_clip_arrays, create_mask_arrays, write_masks
from store.commits import VideoOutcome
from store.feature_arrays import caption_shards
from store.features import ClipFeatures, TextFeatures, create_features, write_clip_features, write_text_features
from store.growth import create_store
from store.places.opening import folder_at
from store.schema import Caption, SplitLayout, Video, VideoStatus
from store.store import Manifest, Store
from tests.benchmarks.measure import Row, Table, paired_seconds, print_table
from tests.benchmarks.quoted import quote
from tests.stores import write_frames

NUM_FRAMES, SHARD_SIZE, CAPTIONS, DIM, SIZE = 12, 16, 20, 512, 4
BLOCK = 2**23
TARGET = 0.7
PEAK = "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
"""Printed by a child at its end: KiB. What `getrusage` says includes the memory of the process that started it."""


def make_store(place: Path, num_videos: int) -> Store:
    """A store whose frames are tiny: only vectors, captions and records count here."""
    videos = [Video(f"video{row}", "test", row, f"{row}.mp4") for row in range(num_videos)]
    captions = [
        Caption(f"video{row}#{number}", f"video{row}", "test", row * CAPTIONS + number, f"text {number} of video {row}")
        for row in range(num_videos)
        for number in range(CAPTIONS)
    ]
    catalog = Catalog.of(videos, captions)
    layout = SplitLayout(num_videos, len(captions), NUM_FRAMES, SIZE, SIZE)
    manifest = Manifest({"name": "benchmark", "digest": catalog.digest()}, SHARD_SIZE, {"test": layout}, {}, {})
    store = create_store(folder_at(place), manifest, catalog)[0]
    create_clip_arrays(store, {"software": {}, "options": {}})
    create_mask_arrays(store, "default", {"options": {}})
    create_features(store, "mine", "test", DIM, {})
    rng = np.random.default_rng(0)
    for shard in store.shards("test"):
        shape = (shard.num_rows, NUM_FRAMES)
        rows = range(shard.start, shard.stop)
        outcomes = [VideoOutcome(f"video{row}", row, VideoStatus.OK, filled=True, mask_coverage=0.5) for row in rows]
        frames = np.full((*shape, SIZE, SIZE, 3), 7, dtype=np.uint8)
        times = np.tile(np.arange(NUM_FRAMES) / 3, (shard.num_rows, 1))
        clips = ShardFrames(frames, times, np.zeros(shape, np.int64))
        written = write_frames(store, shard, clips, outcomes)
        masks = frames[..., 0] > 0
        write_masks(store, shard, "default", masks, outcomes, written.clips.inputs)
        vectors = unit(rng, shard.num_rows)
        frame = np.repeat(vectors[:, None], NUM_FRAMES, 1)
        write_clip_features(store, "mine", shard, ClipFeatures(vectors, frame, tuple(outcomes)), {})
    for shard in caption_shards(store, "test"):
        write_text_features(store, "mine", shard, TextFeatures(unit(rng, shard.num_rows)))
    return store


def unit(rng: np.random.Generator, num_rows: int) -> NDArray[np.float32]:
    """Random directions."""
    rows = rng.standard_normal((num_rows, DIM), dtype=np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


def plain_writes(out: Path, sizes: list[int]) -> None:
    """Files of these sizes, of bytes that cannot be compressed, each flushed to the disk."""
    out.mkdir()
    block = np.random.default_rng(0).integers(0, 256, BLOCK, dtype=np.uint8).data
    for number, size in enumerate(sizes):
        with (out / str(number)).open("wb") as file:
            for start in range(0, size, BLOCK):
                file.write(block[: size - start])
            file.flush()
            os.fsync(file.fileno())


def compare_with_disk(store: Store, out: Path, num_rounds: int) -> None:
    """Print how fast tables are written."""
    options = ExportOptions(ExportFormat.PARQUET, features="mine")
    export(store.place, out, options)
    sizes = [path.stat().st_size for path in out.iterdir()]

    def exporting() -> None:
        shutil.rmtree(out)
        export(store.place, out, options)

    def writing() -> None:
        shutil.rmtree(out)
        plain_writes(out, sizes)

    peer, ours = "plain writes, fsync", "fda export parquet"
    took = paired_seconds({peer: writing, ours: exporting}, num_rounds, {peer: peer, ours: peer})
    mib = sum(sizes) / 2**20
    rows = tuple(Row(name, seconds, ratio, f"{mib / seconds:,.0f} MiB/s") for name, (seconds, ratio) in took.items())
    num_videos = store.layout("test").num_videos
    print_table(Table(f"writing {mib:,.0f} MiB of tables, {num_videos:,} videos", peer, rows))
    quote("export.parquet", took[ours][1], at_least=TARGET)
    quote("export.parquet_rate", mib / took[ours][0], "MiB/s")
    quote("export.disk_rate", mib / took[peer][0], "MiB/s")


def peak_mib(store: Path, out: Path, name: str) -> float:
    """Resident memory at most of a process that exports."""
    features = [] if name == "webdataset" else ["--features", "mine"]
    arguments = ["export", str(store), str(out), "--format", str(name), "--no-progress", *features]
    program = f"import sys; from cli.main import fda; fda.main({arguments!r}, standalone_mode=False); {PEAK}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    shutil.rmtree(out)
    return int(done.stdout.splitlines()[-1]) / 1024


def print_memory(folder: Path, counts: tuple[int, int]) -> None:
    """Print what some formats take for two numbers of videos, whose stores are in the folder."""
    print(f"\nmemory at most, MiB, for {counts[0]:,} and {counts[1]:,} videos")
    for name in (ExportFormat.NPZ, ExportFormat.WEBDATASET, ExportFormat.PARQUET):
        peaks = [peak_mib(folder / str(count), folder / "out", name) for count in counts]
        print(f"  {name:20} {peaks[0]:8.0f} {peaks[1]:8.0f}", flush=True)
        for size, peak in zip(("few", "many"), peaks, strict=True):
            quote(f"export.{name}_{size}_mib", peak, "MiB")


def main(*, quick: bool = False) -> None:
    """Measure, and print."""
    counts = (32, 64) if quick else (500, 5_000)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with mock.patch("os.fsync"):  # nobody needs the stores after this
            few_and_many = [make_store(folder / str(count), count) for count in counts]
        compare_with_disk(few_and_many[1], folder / "out", 1 if quick else 3)
        shutil.rmtree(folder / "out")
        print_memory(folder, counts)


if __name__ == "__main__":
    main()
