"""Retrieval evaluation against a full sort, as CLIP4Clip's `compute_metrics` does it.

`python -m tests.benchmarks.bench_retrieval` prints median times of interleaved runs, their ratio to the full
sort, and the memory that each takes beyond its inputs.
"""

from __future__ import annotations

import argparse
import time
import tracemalloc
from collections.abc import Callable
from statistics import median

import numpy as np
from numpy.typing import NDArray

from pipeline.retrieval import text_to_video_ranks, video_to_text_ranks


def unit_rows(num_rows: int, dim: int, seed: int) -> NDArray[np.float32]:
    """Random directions, shape (num_rows, dim)."""
    rows = np.random.default_rng(seed).standard_normal((num_rows, dim), dtype=np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


def full_sort_ranks(similarity: NDArray[np.float32]) -> NDArray[np.int64]:
    """Sort each row, and find where the diagonal's score stands in it."""
    ordered = np.sort(-similarity, axis=1)
    return np.nonzero(ordered - np.diag(-similarity)[:, None] == 0)[1] + 1


def multiply_in_blocks(text: NDArray[np.float32], video: NDArray[np.float32]) -> None:
    """Compute every similarity, and drop it."""
    for start in range(0, len(text), 512):
        _ = text[start : start + 512] @ video.T


def seconds(run: Callable[[], object]) -> float:
    """Wall time of one run."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def peak_mib(run: Callable[[], object]) -> float:
    """Most memory that NumPy held at once during one run, beyond what it held before."""
    tracemalloc.start()
    run()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 2**20


def main() -> None:
    """Measure, and print one line a method."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=10_000, help="captions and videos (default 10000)")
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    text, video = (unit_rows(arguments.size, arguments.dim, seed) for seed in (0, 1))
    truth = np.arange(arguments.size)
    methods: dict[str, Callable[[], object]] = {
        "full sort, text to video": lambda: full_sort_ranks(text @ video.T),
        "fda, text to video": lambda: text_to_video_ranks(text, video, truth),
        "fda, video to text": lambda: video_to_text_ranks(text, video, truth),
        "bare matrix product": lambda: multiply_in_blocks(text, video),
    }
    times: dict[str, list[float]] = {name: [] for name in methods}
    for _ in range(arguments.repeats):
        for name, run in methods.items():
            times[name].append(seconds(run))
    slowest = median(times["full sort, text to video"])
    print(f"{len(text)} captions x {len(video)} videos, dim {text.shape[1]}, {arguments.repeats} interleaved runs")
    for name, run in methods.items():
        typical = median(times[name])
        print(f"{name:26} {typical:8.3f} s  {slowest / typical:6.1f}x the full sort  {peak_mib(run):8.1f} MiB extra")


if __name__ == "__main__":
    main()
