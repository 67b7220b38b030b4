"""Inner products in blocks: rows that are equal score equally, and what cannot be scored is refused."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.evaluation import grid
from pipeline.evaluation.ranking import text_to_video
from pipeline.evaluation.scores.dot import DotScores
from tests.retrieval_cases import Floats, unit_rows, video_to_text


@pytest.mark.parametrize("seed", range(60))
def test_equal_videos_tie_exactly(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Equal videos rank equally, whichever of them is the own one, at every position and shape."""
    rng = np.random.default_rng(seed)
    monkeypatch.setattr(grid, "_TILE_SIDE", int(rng.choice([3, 50, 2040])))
    num_captions, num_videos = int(rng.integers(1, 300)), int(rng.integers(2, 700))
    dim = int(rng.choice([1, 3, 17, 100, 512, 513]))
    text, video = unit_rows(rng, num_captions, dim), unit_rows(rng, num_videos, dim)
    equal = np.unique(rng.integers(0, num_videos, 6))
    video[equal] = video[equal[0]]
    scores = DotScores(text, video)
    counts = [text_to_video(scores, np.full(num_captions, own)) for own in equal]
    for each in counts:
        np.testing.assert_array_equal(each.above, counts[0].above)
        np.testing.assert_array_equal(each.level, counts[0].level)
    assert (counts[0].level >= len(equal)).all()


@pytest.mark.parametrize("seed", range(20))
def test_equal_captions_tie_exactly(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """One text for every video, far apart and among others: no video knows its own."""
    rng = np.random.default_rng(seed)
    monkeypatch.setattr(grid, "_TILE_SIDE", int(rng.choice([7, 50, 2040])))
    num_videos, dim = int(rng.integers(2, 90)), int(rng.choice([3, 17, 512, 513]))
    video = unit_rows(rng, num_videos, dim)
    same = np.repeat(unit_rows(rng, 1, dim), num_videos, axis=0)
    others = -video  # each video's least similar captions, which never win
    text = np.concatenate([same, others, same])
    truth = np.concatenate([np.arange(num_videos), rng.permutation(num_videos), np.arange(num_videos)])
    keep = np.ones(len(text), bool)
    keep[num_videos : 2 * num_videos] = (others @ video.T).max(axis=1) < (same[:1] @ video.T).min()
    found = video_to_text(DotScores(text[keep], video), truth[keep])
    assert (found.best.above == 0).all()
    assert (found.best.level == num_videos).all()
    assert (found.single.level == 2 * num_videos).all()


def test_opposite_zeros_are_equal() -> None:
    video = np.array([[0.3, 0.0], [0.3, -0.0]], np.float32)
    assert text_to_video(DotScores(np.ones((1, 2), np.float32), video), np.array([0])).level.tolist() == [2]


def broken(row: int, value: float) -> Floats:
    rows = np.ones((8, 2), np.float32)
    rows[row:] = value
    return rows


ONES = np.ones((8, 2), np.float32)


@pytest.mark.parametrize(
    ("text", "video", "message"),
    [
        (broken(7, np.nan), ONES, r"text embeddings: 1 of 8 rows are NaN, infinite or too large \(rows 7\)"),
        (ONES, broken(1, np.inf), r"video embeddings: 7 of 8 rows .* \(rows 1, 2, 3, 4, 5, \.\.\.\)"),
        (ONES, broken(6, 1e30), r"video embeddings: 2 of 8 rows are NaN, infinite or too large"),
        (broken(2, 0), ONES, r"text embeddings: 6 of 8 rows are zero or vanishing \(rows 2, 3"),
        (ONES, broken(7, 1e-30), "1 of 8 rows are zero or vanishing"),
        (ONES.astype(np.float64), ONES, "float32 .* got float64"),
        (ONES, ONES[0], r"got float32 of shape \(2,\)"),
        (ONES[:0], ONES, r"at least one of each, got float32 of shape \(0, 2\)"),
        (ONES, ONES[:, :1], "texts have 2 dimensions and those of videos 1"),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow encountered")
def test_refusals(text: Floats, video: Floats, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DotScores(text, video)
