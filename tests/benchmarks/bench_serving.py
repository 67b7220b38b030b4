"""`fda serve`: how long a page of 50 videos takes in a set of 100,000, and the first frame of a clip in a browser.

The set is made up: vectors in random directions, tiny frames. A page is asked for as a browser asks, without the
network in between. The clips are small, and played by the browser that the tests use; without one they are left out.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path
from unittest import mock
from urllib.parse import urlencode

import numpy as np
from _pytest.outcomes import Skipped
from starlette.testclient import TestClient

import fda
from store.completion import input_digests
from store.feature_dtypes import FeatureDtypes
from store.features import (
    ClipFeatures,
    TextFeatures,
    caption_shards,
    create_features,
    write_clip_features,
    write_text_features,
)
from store.schema import Shard
from store.stages import FRAMES_STAGE
from store.store import Store
from tests.benchmarks.bench_retrieval import DIM, unit_rows
from tests.benchmarks.filling import fill_shards
from tests.benchmarks.quoted import quote
from tests.browser import Tab, browser_path, started_browser
from tests.serving import make_served_store, server_of
from tests.stores import NUM_FRAMES, fill_shard, make_store, outcomes

NUM_VIDEOS, QUICK_VIDEOS = 100_000, 300
"""Of the set that pages are made of."""
FEATURES, SHARD_SIZE, NUM_TIMES = "random", 16, 7
PAGE_SECONDS, FRAME_SECONDS = 0.2, 0.3
"""Targets."""
FIRST_FRAME = """async (name) => {
  const card = document.querySelector(`.card[data-name="0:${name}"]`);
  const start = performance.now();
  card.querySelector('.poster').click();
  const isThere = () => document.querySelector('#player')?.dataset.name === `0:${name}`;
  while (!isThere()) await new Promise((done) => setTimeout(done, 1));
  await new Promise((done) => document.querySelector('#video').requestVideoFrameCallback(done));
  return performance.now() - start;
}"""
"""Milliseconds from a click to the first frame that is shown."""


def make_big_store(place: Path, num_videos: int) -> None:
    """So many videos with frames, masks and features."""
    store = make_store(place, num_videos, SHARD_SIZE)
    create_features(store, FEATURES, "test", DIM, {"made by": "hand"}, FeatureDtypes(frames="float16"))
    fill_shards(store, write_shard)
    for shard in caption_shards(store, "test"):
        write_text_features(store, FEATURES, shard, TextFeatures(unit_rows(shard.num_rows, shard.index)))


def write_shard(store: Store, shard: Shard) -> None:
    """Frames, masks and features of a shard."""
    fill_shard(store, shard)
    frame = unit_rows(shard.num_rows * NUM_FRAMES, shard.index).reshape(shard.num_rows, NUM_FRAMES, DIM)
    video, its = unit_rows(shard.num_rows, shard.index), outcomes(store, shard)
    features = ClipFeatures(video, frame, its, dtypes=FeatureDtypes(frames="float16"))
    write_clip_features(store, FEATURES, shard, features, input_digests(store, shard, [FRAMES_STAGE]))


def pages(num_videos: int) -> None:
    """Print how long pages of 50 videos take."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        with mock.patch("os.fsync"):  # nobody needs it after this
            make_big_store(Path(folder) / "store", num_videos)
        print(f"\nPages of 50 of {num_videos:,} videos, made in {time.perf_counter() - start:.0f} s")
        with TestClient(fda.create_app(Path(folder) / "store"), base_url="http://127.0.0.1") as client:
            _time_pages(client, num_videos)


def _time_pages(client: TestClient, num_videos: int) -> None:
    def seconds(**query: object) -> float:
        start = time.perf_counter()
        assert client.get(f"/?{urlencode({'size': 50, **query})}").status_code == 200
        return time.perf_counter() - start

    places = np.random.default_rng(0).integers(0, num_videos, NUM_TIMES).tolist()
    kinds = {
        "pages": [{"page": 1 + place // 50} for place in places],
        "like": [{"q": f"-vidéo_{place}", "kind": "video"} for place in places],
        "by_frame": [{"q": f"-vidéo_{place}", "kind": "video", "by": "frame"} for place in places],
        "filter": [{"camera": "rests", "page": 1 + place % 20} for place in places],
    }
    for what, queries in kinds.items():
        first, *others = (seconds(**query) for query in queries)
        quote(f"serving.{what}", 1e3 * statistics.median(others), "ms", at_most=1e3 * PAGE_SECONDS)
        quote(f"serving.{what}_first", first, "s")


def first_frames() -> None:
    """Print how long the first frame of a clip takes, in a browser."""
    try:
        browser_path()
    except Skipped as skipped:
        print(f"\nFirst frames: {skipped.msg}")
        return
    print("\nFrom a click to the first frame")
    with tempfile.TemporaryDirectory() as folder:
        store = make_served_store(Path(folder))
        with server_of(store.place, Path(folder)) as base, started_browser() as browser:
            tab = Tab.of(browser, base)
            for video_id, what in (("walk", "as_it_is"), ("old", "copied"), ("mpeg", "transcoded")):
                found = []
                for _ in range(NUM_TIMES):
                    tab.goto("/?size=50")
                    found.append(tab.page.evaluate(FIRST_FRAME, video_id))
                quote(f"serving.{what}", statistics.median(found[1:]), "ms", at_most=1e3 * FRAME_SECONDS)
                quote(f"serving.{what}_first", found[0], "ms")


def main(*, quick: bool = False) -> None:
    """Measure."""
    first_frames()
    pages(QUICK_VIDEOS if quick else NUM_VIDEOS)


if __name__ == "__main__":
    main(quick="--quick" in sys.argv[1:])
