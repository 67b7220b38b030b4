"""What rounding does to ranks, as it is printed before a run."""

from __future__ import annotations

import numpy as np

from pipeline.features.rounding import RoundingEffect


def test_ties_count_against_the_model() -> None:
    """One number of each embedding: all cosines are 1 or -1, and no video is told from half of the others."""
    rng = np.random.default_rng(0)
    whole = rng.standard_normal((2, 32, 64)).astype(np.float32)
    video, text = whole / np.linalg.norm(whole, axis=2, keepdims=True)
    kept = np.sign(video[:, :1]), np.sign(text[:, :1])
    effect = RoundingEffect.of("float32", (video, text), kept)
    assert effect.dim == 1
    assert effect.r1_stored == 0.0
    assert str(effect).startswith("the first number: ")


def test_what_is_the_same_changes_no_rank() -> None:
    video = np.eye(8, dtype=np.float32)
    effect = RoundingEffect.of("float32", (video, video), (video, video))
    assert (effect.r1, effect.r1_stored, effect.num_changed) == (100.0, 100.0, 0)
