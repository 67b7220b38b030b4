"""Retrieval evaluation against what others do: sort each row; and against the matrix product alone.

Prints medians of the processor's time of interleaved runs, which the work of others hardly changes, their ratios, and
the memory that each takes beyond its inputs. The peers are written anew here from what they compute:

- "full sort": CLIP4Clip's `compute_metrics`, of a whole square matrix and then of its transpose.
- "CLIP4Clip, padded": its `tensor_text_to_video_metrics` and `tensor_video_to_text_sim`, several captions a video.
- "sort per caption": collaborative-experts' `t2v_metrics` and `v2t_metrics`, several captions a video.
"""

from __future__ import annotations

import ctypes
import os
import tracemalloc
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.evaluation.ranking import both_ways, text_to_video
from pipeline.evaluation.scores.dot import DotScores
from tests.benchmarks.measure import interleaved_costs, print_table, ratio_table, timed

DIM = 512
Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


def unit_rows(num_rows: int, seed: int) -> Floats:
    """Random directions, shape (num_rows, DIM)."""
    rows = np.random.default_rng(seed).standard_normal((num_rows, DIM), dtype=np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


def full_sort_ranks(similarity: Floats) -> Ints:
    """Sort each row, and find where the diagonal's score stands in it."""
    ordered = np.sort(-similarity, axis=1)
    return np.nonzero(ordered - np.diag(-similarity)[:, None] == 0)[1] + 1


def full_sort(text: Floats, video: Floats) -> None:
    """Both directions, one caption a video."""
    similarity = text @ video.T
    full_sort_ranks(similarity)
    full_sort_ranks(similarity.T)


def clip4clip_padded(text: Floats, video: Floats, truth: Ints) -> None:
    """Both directions, several captions a video: every video is given as many captions as the one with most."""
    similarity = text @ video.T
    starts = np.searchsorted(truth, np.arange(len(video) + 1))
    most = int(np.diff(starts).max())
    padded = torch.tensor(
        np.stack(
            [
                np.concatenate([rows, np.full((most - len(rows), len(video)), -np.inf, np.float32)])
                for rows in np.split(similarity, starts[1:-1])
            ]
        )
    )
    order = torch.argsort(padded.permute(1, 0, 2), dim=-1, descending=True)
    ranks = torch.flatten(torch.diagonal(torch.argsort(order, dim=-1), dim1=1, dim2=2))
    own = torch.flatten(torch.diagonal(padded, dim1=0, dim2=2))
    _ = ranks[~(torch.isinf(own) | torch.isnan(own))]
    padded[padded != padded] = -torch.inf  # as it is there: NaN are lowest
    full_sort_ranks(padded.max(dim=1).values.T.numpy())


def sort_per_caption(text: Floats, video: Floats, truth: Ints) -> None:
    """Both directions, several captions a video, those of each side by side: find every own score in its sorted row."""
    distances = -(text @ video.T)
    ordered = np.sort(distances, axis=1)
    np.nonzero(ordered - np.take_along_axis(distances, truth[:, None], axis=1) == 0)
    starts = np.searchsorted(truth, np.arange(len(video) + 1))
    for number, row in enumerate(distances.T):
        sorted_row = np.sort(row)
        own = row[starts[number] : starts[number + 1]]
        min(np.nonzero(sorted_row - one == 0)[0].mean() for one in own)


def ours(text: Floats, video: Floats, truth: Ints) -> None:
    """Both directions, from embeddings to counts."""
    both_ways(DotScores(text, video), truth)


def multiply_in_blocks(text: Floats, video: Floats) -> None:
    """Compute every similarity, and drop it."""
    for start in range(0, len(text), 2048):
        _ = text[start : start + 2048] @ video.T


def peak_mib(run: Callable[[], object]) -> float:
    """Most memory that NumPy held at once during one run, beyond what it held before."""
    tracemalloc.start()
    run()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 2**20


def kernel() -> str:
    """Which kernels NumPy's OpenBLAS chose for this processor, as `threadpoolctl` asks it; with what was asked for."""
    spec = find_spec("numpy")
    folder = Path(spec.origin).parents[1] / "numpy.libs" if spec and spec.origin else Path()
    asked = [f"{name}={os.environ[name]}" for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE") if name in os.environ]
    for library in folder.glob("libscipy_openblas*"):
        core_name = getattr(ctypes.CDLL(str(library)), "scipy_openblas_get_corename64_", None)
        if core_name is not None:
            core_name.restype = ctypes.c_char_p
            return " ".join([f"OpenBLAS {core_name().decode()}", *asked])
    return " ".join(["another BLAS than OpenBLAS", *asked])


def compare(
    title: str,
    methods: dict[str, Callable[[], object]],
    repeats: int,
    smaller: dict[str, Callable[[], object]] | None = None,
) -> dict[str, float]:
    """Time methods in turn, and print each with its ratio to the first and its memory.

    Args:
        title: Of the table.
        methods: Name -> run.
        repeats: Rounds that count.
        smaller: Runs to measure memory with, where that is the same as in those that take long.
    """
    peer = next(iter(methods))
    costs = interleaved_costs({name: timed(run) for name, run in methods.items()}, repeats)
    seconds = {name: cost.cpu_seconds for name, cost in costs.items()}
    notes = {name: f"{peak_mib(run):.0f} MiB beyond its inputs" for name, run in (smaller or methods).items()}
    print_table(ratio_table(f"{title}, dim {DIM}, processor's time; {kernel()}", seconds, peer, notes))
    return seconds


def square(num: int, repeats: int) -> None:
    """One caption a video, both directions, against the full sort."""
    text, video = unit_rows(num, 0), unit_rows(num, 1)
    methods: dict[str, Callable[[], object]] = {
        "full sort": lambda: full_sort(text, video),
        "matrix product alone": lambda: multiply_in_blocks(text, video),
        "fda": lambda: ours(text, video, np.arange(num)),
    }
    compare(f"ranks both ways, {num} captions x {num} videos", methods, repeats)


def several_captions(num_captions: int, num_videos: int, repeats: int) -> None:
    """MSVD's test set by number, against sorting."""
    text, video = unit_rows(num_captions, 0), unit_rows(num_videos, 1)
    truth = np.sort(np.arange(num_captions) % num_videos)
    methods: dict[str, Callable[[], object]] = {
        "CLIP4Clip, padded": lambda: clip4clip_padded(text, video, truth),
        "sort per caption": lambda: sort_per_caption(text, video, truth),
        "matrix product alone": lambda: multiply_in_blocks(text, video),
        "fda": lambda: ours(text, video, truth),
    }
    compare(f"ranks both ways, {num_captions} captions x {num_videos} videos", methods, repeats)


def product_and_ranks(text: Floats, video: Floats) -> dict[str, Callable[[], object]]:
    """The matrix product, and one direction of ranking, which cannot do without it."""
    scores, truth = DotScores(text, video), np.arange(len(text)) % len(video)
    return {
        "bare matrix product": lambda: multiply_in_blocks(text, video),
        "fda, text to video": lambda: text_to_video(scores, truth),
    }


def against_product(num_captions: int, num_videos: int, repeats: int) -> dict[str, float]:
    """One direction against the matrix product, whose memory grows with the candidates alone."""
    text, video = unit_rows(num_captions, 0), unit_rows(num_videos, 1)
    title = f"ranks one way, {num_captions} captions x {num_videos} videos"
    return compare(title, product_and_ranks(text, video), repeats, product_and_ranks(text[:2_000], video))


def main(*, quick: bool = False) -> None:
    """Measure, and print a table a size; the last is a hundredth of a million captions x 100,000 videos."""
    scale, repeats = (20, 1) if quick else (1, 3)
    square(10_000 // scale, repeats)
    several_captions(27_763 // scale, 670 // scale, repeats)
    against_product(50_000 // scale, 50_000 // scale, 1)
    seconds = against_product(100_000 // scale, 10_000 // scale, 1)
    whole = 100 * seconds["fda, text to video"]
    print(f"  so {1_000_000 // scale} captions x {100_000 // scale} videos: about {whole / 60:.0f} min, one way")


if __name__ == "__main__":
    main()
