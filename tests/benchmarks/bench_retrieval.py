"""Retrieval evaluation against what others do: sort each row; and against the matrix product alone.

Prints medians of the processor's time of interleaved runs, which the work of others hardly changes, their ratios, and
the memory that each takes beyond its inputs. In the same run the ranks are compared. Products of other blocks round in
other ways, so that a few of random scores change places. The peers are written anew here from what they compute:

- "full sort": CLIP4Clip's `compute_metrics`, of a whole square matrix and then of its transpose.
- "CLIP4Clip, padded": its `tensor_text_to_video_metrics` and `tensor_video_to_text_sim`, several captions a video.
- "sort per caption": collaborative-experts' `t2v_metrics` and `v2t_metrics`, several captions a video.
"""

from __future__ import annotations

import ctypes
import os
import tracemalloc
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.evaluation.ranking import both_ways, text_to_video
from pipeline.evaluation.scores.dot import DotScores
from tests.benchmarks.measure import interleaved_costs, print_table, ratio_table, timed
from tests.benchmarks.quoted import quote

DIM = 512
Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Ranks = Mapping[str, Ints]
"""Ranks of each direction, 1 is the best; `best` and `single` are the two ways of `pipeline.evaluation.ranking`."""
TO_VIDEO, BEST, SINGLE = "text to video", "best", "single"


def unit_rows(num_rows: int, seed: int) -> Floats:
    """Random directions, shape (num_rows, DIM)."""
    rows = np.random.default_rng(seed).standard_normal((num_rows, DIM), dtype=np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


def full_sort_ranks(similarity: Floats) -> Ints:
    """Sort each row, and find where the diagonal's score stands in it."""
    ordered = np.sort(-similarity, axis=1)
    return first_places(ordered - np.diag(-similarity)[:, None] == 0) + 1


def first_places(is_own: NDArray[np.bool_]) -> Ints:
    """The first place of each row that holds its own score; a tie has several."""
    rows, places = np.nonzero(is_own)
    return places[np.unique(rows, return_index=True)[1]]


def full_sort(text: Floats, video: Floats) -> Ranks:
    """Both directions, one caption a video."""
    similarity = text @ video.T
    return {TO_VIDEO: full_sort_ranks(similarity), BEST: full_sort_ranks(similarity.T)}


def clip4clip_padded(text: Floats, video: Floats, truth: Ints) -> Ranks:
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
    ranks = torch.flatten(torch.diagonal(torch.argsort(order, dim=-1), dim1=1, dim2=2).T)
    own = torch.flatten(torch.diagonal(padded, dim1=0, dim2=2).T)
    to_video = ranks[~(torch.isinf(own) | torch.isnan(own))].numpy() + 1
    padded[padded != padded] = -torch.inf  # as it is there: NaN are lowest
    return {TO_VIDEO: to_video, BEST: full_sort_ranks(padded.max(dim=1).values.T.numpy())}


def sort_per_caption(text: Floats, video: Floats, truth: Ints) -> Ranks:
    """Both directions, several captions a video, those of each side by side: find every own score in its sorted row."""
    distances = -(text @ video.T)
    ordered = np.sort(distances, axis=1)
    to_video = first_places(ordered - np.take_along_axis(distances, truth[:, None], axis=1) == 0) + 1
    to_text = []
    starts = np.searchsorted(truth, np.arange(len(video) + 1))
    for number, row in enumerate(distances.T):
        sorted_row = np.sort(row)
        own = row[starts[number] : starts[number + 1]]
        to_text.append(min(np.nonzero(sorted_row - one == 0)[0].mean() for one in own))
    return {TO_VIDEO: to_video, SINGLE: np.array(to_text).astype(np.int64) + 1}


def ours(text: Floats, video: Floats, truth: Ints) -> Ranks:
    """Both directions, from embeddings to counts."""
    to_video, to_text = both_ways(DotScores(text, video), truth)
    return {TO_VIDEO: to_video.above + 1, BEST: to_text.best.above + 1, SINGLE: to_text.single.above + 1}


def multiply_in_blocks(text: Floats, video: Floats) -> Ranks:
    """Compute every similarity, and drop it."""
    for start in range(0, len(text), 2048):
        _ = text[start : start + 2048] @ video.T
    return {}


def same_ranks(found: Ranks, expected: Ranks) -> str:
    """Compare the ranks of a peer with ours, where both have them.

    Returns:
        Which share is the same.

    Raises:
        RuntimeError: More than one in a hundred differ, or one by more than three places: that is no rounding.

    >>> same_ranks({"best": np.array([1, 7])}, {"best": np.array([1, 7]), "single": np.array([1, 8])})
    '100.00% of its ranks are the same'
    """
    shared = [way for way in found if way in expected]
    if not shared:
        return ""
    distances = np.concatenate([np.abs(found[way] - expected[way]) for way in shared])
    share, most = np.mean(distances == 0), distances.max()
    if share < 0.99 or most > 3:
        raise RuntimeError(f"only {share:.2%} of the ranks are the same, and some differ by {most} places")
    return f"{share:.2%} of its ranks are the same"


def peak_mib(run: Callable[[], Ranks]) -> tuple[float, Ranks]:
    """Most memory that NumPy held at once during one run, beyond what it held before; and what it gave."""
    tracemalloc.start()
    ranks = run()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 2**20, ranks


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


Methods = dict[str, Callable[[], Ranks]]
OURS = "fda"


@dataclass(frozen=True, slots=True)
class Compared:
    """What methods took."""

    seconds: dict[str, float]
    """Of the processor."""
    mib: dict[str, float]
    """Of memory, beyond the inputs."""

    def ratio(self, peer: str) -> float:
        """How many times faster than a peer fda is."""
        return self.seconds[peer] / self.seconds[OURS]


def compare(
    title: str,
    methods: Methods,
    repeats: int,
    smaller: Methods | None = None,
) -> Compared:
    """Time methods in turn, and print each with its ratio to the first, its memory, and whether its ranks are ours.

    Args:
        title: Of the table.
        methods: Name -> run.
        repeats: Rounds that count.
        smaller: Runs to measure memory with, where that is the same as in those that take long.
    """
    peer = next(iter(methods))
    peaks = {name: peak_mib(run) for name, run in (smaller or methods).items()}
    costs = interleaved_costs({name: timed(run) for name, run in methods.items()}, repeats, is_warm=True)
    seconds = {name: cost.cpu_seconds for name, cost in costs.items()}
    expected = peaks[OURS][1]
    notes = {name: f"{mib:.0f} MiB beyond its inputs" for name, (mib, _) in peaks.items()}
    for name, (_, ranks) in peaks.items():
        if name != OURS and (same := same_ranks(ranks, expected)):
            notes[name] += f"; {same}"
    print_table(ratio_table(f"{title}, dim {DIM}, processor's time; {kernel()}", seconds, peer, notes))
    return Compared(seconds, {name: mib for name, (mib, _) in peaks.items()})


def square(num: int, repeats: int) -> None:
    """One caption a video, both directions, against the full sort."""
    text, video = unit_rows(num, 0), unit_rows(num, 1)
    methods: Methods = {
        "full sort": lambda: full_sort(text, video),
        "matrix product alone": lambda: multiply_in_blocks(text, video),
        OURS: lambda: ours(text, video, np.arange(num)),
    }
    found = compare(f"ranks both ways, {num} captions x {num} videos", methods, repeats)
    quote("retrieval.square", found.ratio("full sort"), at_least=8)
    quote("retrieval.square_seconds", found.seconds[OURS], "s")
    quote("retrieval.square_product", found.seconds["matrix product alone"], "s")
    quote("retrieval.square_mib", found.mib[OURS], "MiB", at_most=50)
    quote("retrieval.square_sort_mib", found.mib["full sort"], "MiB")


def several_captions(num_captions: int, num_videos: int, repeats: int) -> None:
    """MSVD's test set by number, against sorting."""
    text, video = unit_rows(num_captions, 0), unit_rows(num_videos, 1)
    truth = np.sort(np.arange(num_captions) % num_videos)
    methods: Methods = {
        "CLIP4Clip, padded": lambda: clip4clip_padded(text, video, truth),
        "sort per caption": lambda: sort_per_caption(text, video, truth),
        "matrix product alone": lambda: multiply_in_blocks(text, video),
        OURS: lambda: ours(text, video, truth),
    }
    found = compare(f"ranks both ways, {num_captions} captions x {num_videos} videos", methods, repeats)
    quote("retrieval.captions", found.ratio("CLIP4Clip, padded"), at_least=6)
    quote("retrieval.captions_seconds", found.seconds[OURS], "s")
    quote("retrieval.captions_product", found.seconds["matrix product alone"], "s")
    quote("retrieval.captions_sorted", found.ratio("sort per caption"))
    quote("retrieval.captions_mib", found.mib[OURS], "MiB")
    quote("retrieval.captions_padded_mib", found.mib["CLIP4Clip, padded"], "MiB")
    quote("retrieval.captions_sorted_mib", found.mib["sort per caption"], "MiB")


def product_and_ranks(text: Floats, video: Floats) -> Methods:
    """The matrix product, and one direction of ranking, which cannot do without it."""
    scores, truth = DotScores(text, video), np.arange(len(text)) % len(video)
    return {
        "bare matrix product": lambda: multiply_in_blocks(text, video),
        OURS: lambda: {TO_VIDEO: text_to_video(scores, truth).above + 1},
    }


def against_product(num_captions: int, num_videos: int, repeats: int) -> Compared:
    """One direction against the matrix product, whose memory grows with the candidates alone."""
    text, video = unit_rows(num_captions, 0), unit_rows(num_videos, 1)
    title = f"ranks one way, {num_captions} captions x {num_videos} videos"
    return compare(title, product_and_ranks(text, video), repeats, product_and_ranks(text[:2_000], video))


def main(*, quick: bool = False) -> None:
    """Measure, and print a table a size; the last is a hundredth of a million captions x 100,000 videos."""
    scale, repeats = (20, 1) if quick else (1, 2)
    square(10_000 // scale, repeats)
    several_captions(27_763 // scale, 670 // scale, repeats)
    large = against_product(50_000 // scale, 50_000 // scale, 1)
    quote("retrieval.large", 1 / large.ratio("bare matrix product"), at_most=1.3)
    whole = 100 * against_product(100_000 // scale, 10_000 // scale, 1).seconds[OURS]
    print(f"  so {1_000_000 // scale} captions x {100_000 // scale} videos: about {whole / 60:.0f} min, one way")


if __name__ == "__main__":
    main()
