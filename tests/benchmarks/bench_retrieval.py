"""Retrieval evaluation against a full sort, as CLIP4Clip's `compute_metrics` does it.

Prints median times of interleaved runs, their ratio to the full sort, and the memory that each takes beyond its inputs.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from pipeline.retrieval import text_to_video_ranks, video_to_text_ranks
from tests.benchmarks.measure import interleaved, print_ratios

SIZE, DIM, REPEATS = 10_000, 512, 3
PEER = "full sort"


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


def peak_mib(run: Callable[[], object]) -> float:
    """Most memory that NumPy held at once during one run, beyond what it held before."""
    tracemalloc.start()
    run()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 2**20


def main() -> None:
    """Measure, and print one line a method."""
    text, video = (unit_rows(SIZE, DIM, seed) for seed in (0, 1))
    truth = np.arange(SIZE)
    methods: dict[str, Callable[[], object]] = {
        PEER: lambda: full_sort_ranks(text @ video.T),
        "fda, text to video": lambda: text_to_video_ranks(text, video, truth),
        "fda, video to text": lambda: video_to_text_ranks(text, video, truth),
        "bare matrix product": lambda: multiply_in_blocks(text, video),
    }
    seconds = interleaved(methods, REPEATS)
    print_ratios(f"ranks of {SIZE} captions x {SIZE} videos, dim {DIM}", seconds, PEER)
    for name, run in methods.items():
        print(f"  {name:44} {peak_mib(run):10.1f} MiB beyond its inputs")


if __name__ == "__main__":
    main()
