"""`fda search` against NumPy's plain product, faiss-flat and usearch: exact answers, in one interleaved run.

Vectors are random directions: the worst case for anything approximate. The store of the second part has so many videos
with 12 frames each, of noise too; its commands are whole commands, from a cold process with a warm file cache.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from pipeline.search.coarse import Coarse
from pipeline.search.engine import SearchEngine
from pipeline.search.options import By, Query, QueryKind, SearchOptions
from pipeline.search.scan import Vectors, best
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
from store.store import Manifest, Store
from tests.benchmarks.bench_retrieval import DIM, unit_rows
from tests.benchmarks.filling import fill_shards
from tests.benchmarks.measure import Cost, cost_rounds, interleaved_costs, print_table, ratio_table, timed
from tests.benchmarks.peers import PEERS_PYTHON
from tests.benchmarks.quoted import quote
from tests.stores import write_frames

TOP, NUM_FRAMES, SIZE = 10, 12, 8
RECALL_QUERIES = 25
"""Of which it is counted how many of the best are found."""
Floats = NDArray[np.float32]
Search = Callable[[Floats], NDArray[np.int64]]
"""Queries to the places of the best of each: shape (num_queries, TOP)."""


def numpy_product(vectors: Floats, queries: Floats) -> NDArray[np.int64]:
    """What people write: one product, then a partition of its scores."""
    scores = vectors @ queries.T
    places = np.argpartition(-scores, TOP, axis=0)[:TOP]
    return np.take_along_axis(places, np.argsort(-np.take_along_axis(scores, places, 0), axis=0), 0).T


@contextmanager
def peers(vectors: Floats, folder: Path) -> Iterator[dict[str, Callable[[Floats], tuple[Cost, NDArray[np.int64]]]]]:
    """The methods of `search_peers` that its environment has."""
    if not PEERS_PYTHON.exists():
        yield {}
        return
    np.save(folder / "vectors.npy", vectors)
    server = [PEERS_PYTHON, Path(__file__).with_name("search_peers.py"), folder / "vectors.npy"]
    with subprocess.Popen(server, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        names: list[str] = json.loads(process.stdout.readline())

        def ask(method: str, queries: Floats) -> tuple[Cost, NDArray[np.int64]]:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(json.dumps({"method": method, "queries": queries.tolist(), "k": TOP}) + "\n")
            process.stdin.flush()
            answer = json.loads(process.stdout.readline())
            return Cost(answer["seconds"], answer["seconds"]), np.array(answer["places"])

        yield {name: lambda queries, name=name: ask(name, queries) for name in names}  # type: ignore[misc]
        process.stdin.close()


def in_memory(num_vectors: int, num_queries: int, repeats: int) -> None:
    """Vectors that are in memory, against the peers."""
    vectors, queries = unit_rows(num_vectors, 0), unit_rows(num_queries, 1)
    passed = np.ones(num_vectors, np.bool_)
    coarse = Coarse.of(
        ((start, vectors[start : start + 8192]) for start in range(0, num_vectors, 8192)), num_vectors, DIM
    )

    def approximate(queries: Floats) -> NDArray[np.int64]:
        found = []
        for query in queries:
            places = coarse.likeliest(query, passed, TOP)
            (one,) = best(Vectors(vectors[places]), query[None], np.ones(len(places), np.bool_), TOP)
            found.append(places[one.items])
        return np.stack(found)

    ours: dict[str, Search] = {
        "NumPy product": lambda queries: numpy_product(vectors, queries),
        "fda": lambda queries: np.stack([one.items for one in best(Vectors(vectors), queries, passed, TOP)]),
        "fda --approximate": approximate,
    }
    with tempfile.TemporaryDirectory() as folder, peers(vectors, Path(folder)) as theirs:
        checked = unit_rows(RECALL_QUERIES, 2)
        expected = ours["fda"](checked)
        notes = {name: recall(run(checked), expected) for name, run in ours.items()}
        notes |= {name: recall(ask(checked)[1], expected) for name, ask in theirs.items()}
        methods = {name: timed(lambda run=run: run(queries)) for name, run in ours.items()}  # type: ignore[misc]
        methods |= {name: lambda ask=ask: ask(queries)[0] for name, ask in theirs.items()}  # type: ignore[misc]
        costs = interleaved_costs(methods, repeats, is_warm=True)  # by the check
    seconds = {name: cost.wall_seconds for name, cost in costs.items()}
    title = f"best {TOP} of {num_vectors:,} x {DIM}, {num_queries} at a time"
    print_table(ratio_table(title, seconds, "NumPy product", notes))
    what = "one" if num_queries == 1 else "many"
    quote(f"search.{what}_seconds", seconds["fda"], "s", at_most=0.6 if num_queries == 1 else None)
    quote(f"search.{what}_numpy", seconds["NumPy product"] / seconds["fda"], at_least=1)
    if "faiss-flat" in seconds:
        quote(f"search.{what}_faiss", seconds["faiss-flat"] / seconds["fda"])


def recall(found: NDArray[np.int64], expected: NDArray[np.int64]) -> str:
    """Which share of the best was found."""
    shares = [np.isin(one, its).mean() for one, its in zip(expected, found, strict=True)]
    return f"recall@{TOP} {np.mean(shares):.4f}"


def make_store(place: Path, num_videos: int) -> Store:
    """A store of noise with the features `noise`, written without waiting for the disk."""
    layout = SplitLayout(num_videos, num_videos, NUM_FRAMES, SIZE, SIZE)
    manifest = Manifest({"name": "noise", "digest": "0" * 64}, 16, {"test": layout}, {"image_size": SIZE}, {})
    videos = [Video(f"video_{row:07d}", "test", row, f"{row}.mp4") for row in range(num_videos)]
    captions = [Caption(f"{one.video_id}#0", one.video_id, "test", one.row, f"noise {one.row}") for one in videos]
    with mock.patch("os.fsync"):
        store = create_store(folder_at(place), manifest, Catalog.of(videos, captions))[0]
        create_clip_arrays(store, {"made by": "hand"})
        create_mask_arrays(store, "default", {"options": {}})
        create_features(store, "noise", "test", DIM, {"model": {"name": "noise", "weights_sha256": "0" * 64}})
        fill_shards(store, write_shard)
        for shard in caption_shards(store, "test"):
            write_text_features(store, "noise", shard, TextFeatures(unit_rows(shard.num_rows, shard.index)))
    return store


def write_shard(store: Store, shard: Shard) -> None:
    """Frames, masks and features of a shard."""
    shape = (shard.num_rows, NUM_FRAMES)
    times, index = np.tile(np.arange(NUM_FRAMES) / 2, (shard.num_rows, 1)), np.tile(np.arange(12), (shard.num_rows, 1))
    outcomes = [
        VideoOutcome(one.video_id, one.row, VideoStatus.OK, True, duration_seconds=6.0, checksum="0" * 64)
        for one in store.catalog.shard_videos(shard)
    ]
    clips = write_frames(store, shard, ShardFrames(np.zeros((*shape, SIZE, SIZE, 3), np.uint8), times, index), outcomes)
    write_masks(store, shard, "default", np.zeros((*shape, SIZE, SIZE), np.bool_), outcomes, clips.clips.inputs)
    frames = unit_rows(shard.num_rows * NUM_FRAMES, shard.index).reshape(*shape, DIM)
    video = frames.mean(axis=1)
    video /= np.linalg.norm(video, axis=1, keepdims=True)
    inputs = input_digests(store, shard, ["frames", "masks/default"])
    write_clip_features(store, "noise", shard, ClipFeatures(video, frames, tuple(outcomes)), inputs)


def of_a_store(num_videos: int, repeats: int) -> None:
    """A store on disk: the whole command by id, and an engine that has loaded."""
    with tempfile.TemporaryDirectory() as folder:
        store = make_store(Path(folder) / "store", num_videos)
        command = [sys.executable, "-m", "cli.main", "search", store.place, "--video", "video_0000001", "--json"]
        engine = SearchEngine.open([store.place])
        query = [Query("video_0000001", QueryKind.VIDEO)]
        options = {by: SearchOptions(by=by) for by in By}
        began = time.perf_counter()
        engine.search(query, options[By.FRAME])
        print(f"\nframes of {num_videos:,} videos read and compared: {time.perf_counter() - began:.1f} s", flush=True)
        methods = {
            "by video, loaded": timed(lambda: engine.search(query, options[By.VIDEO])),
            "by frame, loaded": timed(lambda: engine.search(query, options[By.FRAME])),
            "whole command by id": timed(lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL)),
        }
        rounds = cost_rounds(methods, repeats)
    seconds = {name: float(np.median([cost.wall_seconds for cost in of])) for name, of in rounds.items()}
    title = f"{num_videos:,} videos x {NUM_FRAMES} frames x {DIM}, with moments"
    print_table(ratio_table(title, seconds, "whole command by id"))
    quote("search.by_video", seconds["by video, loaded"], "s", at_most=0.15)
    quote("search.by_frame", seconds["by frame, loaded"], "s", at_most=0.15)
    quote("search.command", seconds["whole command by id"], "s", at_most=1.5)


def main(*, quick: bool = False) -> None:
    """Measure, and print a table for each."""
    scale, repeats = (100, 1) if quick else (1, 5)
    in_memory(1_000_000 // scale, 1, repeats)
    in_memory(200_000 // scale, 64, repeats)
    of_a_store(100_000 // scale, repeats)


if __name__ == "__main__":
    main()
