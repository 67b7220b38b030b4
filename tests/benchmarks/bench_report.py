"""`fda report` of large stores: its time, its memory and the size of its page, of videos that need not be decoded.

`python -m tests.benchmarks report` makes a store of 10,000 test videos with two feature sets of 512 dimensions, each
video with one caption, and times the whole command in a process of its own. Target: 20 s.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from unittest import mock

import numpy as np

import fda
from pipeline.datasets.read import read_dataset
from pipeline.frames.preprocess import VideoSource, open_store, plan_preprocess, preprocess_shards
from store.places.opening import folder_at
from tests.benchmarks.bench_scale import OPTIONS, NoDecoder, write_manifest
from tests.benchmarks.machine import NUM_CORES
from tests.benchmarks.quoted import quote

DIM, NOISE = 512, (2.0, 3.0)


def make_store(folder: Path, num_videos: int) -> Path:
    """A store of so many videos, with features in which captions are near their videos."""
    write_manifest(folder / "clips.jsonl", num_videos, tests_of_ten=10)
    dataset = read_dataset("jsonl", folder / "clips.jsonl")
    store = open_store(dataset, folder_at(folder / "store"), OPTIONS)[0]
    preprocess_shards(store, VideoSource(dataset.root, decoder=NoDecoder()), plan_preprocess(store, OPTIONS), OPTIONS)
    rng = np.random.default_rng(0)
    meant = rng.normal(size=(num_videos, DIM)).astype(np.float32)
    view = fda.open_store(store.place)
    ids = {"text": view.captions()["caption_id"].to_pylist(), "video": view.videos()["video_id"].to_pylist()}
    for noise in NOISE:
        drawn = {kind: meant + noise * rng.normal(size=meant.shape).astype(np.float32) for kind in ids}
        text, video = (fda.Embeddings(values, ids[kind]) for kind, values in drawn.items())
        fda.import_features(store.place, fda.ImportOptions(f"noise-{noise:g}", text=text, video=video))
    return Path(store.place)


def main(*, quick: bool = False) -> None:
    """Time the command."""
    num_videos = 200 if quick else 10_000
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "page.html"
        with mock.patch("os.fsync"):  # nobody needs the store after this
            place = make_store(Path(folder), num_videos)
        began = time.perf_counter()
        command = [sys.executable, "-m", "cli.main", "report", str(place), "-o", str(page), "--no-progress"]
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
        seconds = time.perf_counter() - began
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss >> 10
        print(f"{num_videos:,} videos, {len(NOISE)} feature sets, {NUM_CORES} cores")
        quote("report.seconds", seconds, "s", at_most=20)
        quote("report.page", page.stat().st_size / 1e6, "MB")
        quote("report.memory", peak, "MiB")
