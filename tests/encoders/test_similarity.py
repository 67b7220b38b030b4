"""Ranks on tensors are those on NumPy arrays; on a GPU, too, where there is one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from encoders.similarity import place, put_on
from pipeline.evaluation import grid, postprocess
from pipeline.evaluation.postprocess import DualSoftmax, QueryBankNorm
from pipeline.evaluation.ranking import both_ways
from pipeline.evaluation.scores.attention import AttentionScores
from pipeline.evaluation.scores.dot import DotScores, Put, Tiles
from pipeline.evaluation.scores.frames import FrameScores
from tests.retrieval_cases import Floats, Ints, unit_rows, whole
from tests.seed import seed_number

NUM_CASES = 200
"""Others at each commit."""


@pytest.fixture(params=["cpu", "cuda"])
def put(request: pytest.FixtureRequest) -> Iterator[Put]:
    """To tensors on each device; that there is no GPU is a failure where the environment promises one."""
    if request.param == "cuda":
        needs_cuda()
        yield place("cuda").put
        return
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)  # products as small as these only wait for one another
    yield lambda array: put_on(array, torch.device("cpu"))
    torch.set_num_threads(num_threads)


def needs_cuda() -> None:
    if not torch.cuda.is_available():
        reason = "torch finds no GPU here"
        if os.environ.get("FDA_REQUIRE_CUDA") == "1":
            pytest.fail(f"{reason}, and FDA_REQUIRE_CUDA=1 promises one")
        pytest.skip(f"{reason} (FDA_REQUIRE_CUDA=1 turns this into a failure)")


def counts(scores: Tiles, truth: Ints) -> list[NDArray[np.int64] | NDArray[np.float64]]:
    """All that ranking gives."""
    to_video, to_text = both_ways(scores, truth, gains=True)
    assert to_text.gain is not None
    best, single = to_text.best, to_text.single
    return [to_video.above, to_video.level, best.above, best.level, single.above, single.level, to_text.gain]


def assert_same(scores: Tiles, on_device: Tiles, truth: Ints) -> None:
    for here, there in zip(counts(scores, truth), counts(on_device, truth), strict=True):
        np.testing.assert_array_equal(here, there)


def whole_numbers(rng: np.random.Generator) -> tuple[Floats, Floats, Ints]:
    """Few values, so that every product is exact and many are equal; several captions a video, and videos without."""
    num_videos, num_texts, high = int(rng.integers(1, 9)), int(rng.integers(1, 17)), int(rng.integers(2, 4))
    text, video = (rng.integers(1, high, (num, 3)).astype(np.float32) for num in (num_texts, num_videos))
    return text, video * rng.choice(np.array([1, -1], np.float32)), rng.integers(0, num_videos, num_texts)


def test_whole_numbers_with_ties(put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(seed_number("ties"))
    for _ in range(NUM_CASES):
        monkeypatch.setattr(grid, "_TILE_SIDE", int(rng.integers(2, 12)))
        text, video, truth = whole_numbers(rng)
        assert_same(DotScores(text, video), DotScores(text, video, put), truth)


def apart(text: Floats, video: Floats) -> bool:
    """Whether no two scores of a text, or of a video, are so near that float32 may swap them."""
    exact = text.astype(np.float64) @ video.astype(np.float64).T
    gaps = [np.diff(np.sort(exact, axis=axis), axis=axis) for axis in (0, 1)]
    return all(gap.size == 0 or gap.min() > 1e-4 for gap in gaps)


def test_real_numbers_that_are_apart(put: Put) -> None:
    num_ranked, rng = 0, np.random.default_rng(seed_number("apart"))
    for _ in range(NUM_CASES):
        num_texts, num_videos = int(rng.integers(2, 17)), int(rng.integers(2, 9))
        text, video = unit_rows(rng, num_texts, 64), unit_rows(rng, num_videos, 64)
        if apart(text, video):
            assert_same(DotScores(text, video), DotScores(text, video, put), rng.integers(0, num_videos, num_texts))
            num_ranked += 1
    assert num_ranked > NUM_CASES / 2


def frame_pair(text: Floats, video: Floats, put: Put) -> tuple[Tiles, Tiles]:
    frame = np.stack([video, -video, np.full_like(video, np.nan)], axis=1)
    frame[::2, 2] = text[0]
    return FrameScores(text, frame, 2), FrameScores(text, frame, 2, put)


def attention_pair(text: Floats, video: Floats, put: Put) -> tuple[Tiles, Tiles]:
    frame = np.stack([video, 2 * np.roll(video, 1, axis=1), np.full_like(video, np.nan)], axis=1)
    frame[::2, 2] = text[0]
    return AttentionScores(text, frame, 0.1), AttentionScores(text, frame, 0.1, put)


def dual_pair(text: Floats, video: Floats, put: Put) -> tuple[Tiles, Tiles]:
    return DualSoftmax(DotScores(text, video), 0.1), DualSoftmax(DotScores(text, video, put), 0.1)


def bank_pair(text: Floats, video: Floats, put: Put) -> tuple[Tiles, Tiles]:
    rng = np.random.default_rng(len(text))
    texts, videos = unit_rows(rng, 50, text.shape[1]), unit_rows(rng, 20, text.shape[1])
    here = QueryBankNorm(DotScores(text, video), DotScores(texts, video), DotScores(text, videos), k=2)
    banks = DotScores(texts, video, put), DotScores(text, videos, put)
    return here, QueryBankNorm(DotScores(text, video, put), *banks, k=2)


Pair = Callable[[Floats, Floats, Put], tuple[Tiles, Tiles]]


@pytest.mark.parametrize("pair", [frame_pair, attention_pair, dual_pair, bank_pair])
def test_other_scores(pair: Pair, put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postprocess, "_BLOCK_ROWS", 7)
    monkeypatch.setattr(postprocess, "_LEAST_ROWS", 1)
    for seed in range(60):
        rng = np.random.default_rng(seed)
        text, video = unit_rows(rng, 30, 32), unit_rows(rng, 20, 32)
        here, there = pair(text, video, put)
        mine_whole, theirs_whole = whole(here), whole(there)
        for mine, theirs in (
            (mine_whole.to_video, theirs_whole.to_video),
            (mine_whole.to_text, theirs_whole.to_text),
        ):
            np.testing.assert_allclose(mine, theirs.cpu().numpy(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("pair", [frame_pair, attention_pair, dual_pair, bank_pair])
@pytest.mark.parametrize("seed", range(4))
def test_equal_rows_tie_exactly(pair: Pair, seed: int, put: Put) -> None:
    rng = np.random.default_rng(seed)
    num_texts, num_videos, dim = int(rng.integers(30, 400)), int(rng.integers(30, 700)), int(rng.choice([3, 17, 512]))
    text, video = unit_rows(rng, num_texts, dim), unit_rows(rng, num_videos, dim)
    equal_texts, equal_videos = (np.unique(2 * rng.integers(0, num // 2, 6)) for num in (num_texts, num_videos))
    text[equal_texts], video[equal_videos] = text[equal_texts[0]], video[equal_videos[0]]
    found = whole(pair(text, video, put)[1])
    for rows in (found.to_video[equal_videos].T, found.to_text[:, equal_texts]):
        assert (rows == rows[:, :1]).all()


def test_the_device_is_named() -> None:
    on_cpu = place("cpu")
    assert on_cpu.device == "cpu"
    array = np.ones((2, 2), np.float32)
    assert on_cpu.put(array) is array


def test_the_gpu_is_named_and_exact() -> None:
    needs_cuda()
    on_gpu = place("cuda")
    assert on_gpu.device.startswith("cuda")
    ones = on_gpu.put(np.full((64, 64), 1 + 2**-20, np.float32))  # TF32 would drop the last bit
    assert (ones @ on_gpu.put(np.eye(64, dtype=np.float32)) == ones).all()


@pytest.mark.parametrize("device", ["cuda", "nonsense"])
def test_a_device_that_is_not_there_is_refused(device: str) -> None:
    if device == "cuda" and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(ValueError, match=f"cannot use device '{device}'"):
        place(device)
