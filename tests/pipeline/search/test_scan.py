"""Exact search against a plain sort, for any vectors, blocks and ties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.search import scan
from pipeline.search.scan import BestFrames, Vectors, best, cosines, dots
from tests.searching import unit


@st.composite
def cases(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Items of a few distinct directions, so that there are ties; queries; and which items passed a filter."""
    num_items, dim = draw(st.integers(0, 40)), draw(st.integers(1, 9))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    few = unit(rng.standard_normal((draw(st.integers(1, 40)), dim)).astype(np.float32))
    rows = few[rng.integers(0, len(few), num_items)]
    rows[rng.random(num_items) < 0.1] = np.nan
    queries = unit(rng.standard_normal((draw(st.integers(1, 4)), dim)).astype(np.float32))
    return rows, queries, rng.random(num_items) < draw(st.sampled_from([0.0, 0.5, 1.0]))


@settings(max_examples=60)
@given(case=cases(), top=st.integers(1, 50), block=st.sampled_from([1, 3, 8192]))
def test_the_best_are_those_of_a_sort(case: tuple[np.ndarray, np.ndarray, np.ndarray], top: int, block: int) -> None:
    rows, queries, passed = case
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scan, "BLOCK_ROWS", block)
        patch.setattr(scan, "MANY_QUERIES", 3)
        patch.setattr(scan, "SCORES_AT_ONCE", block * 50)
        found = best(Vectors(rows), queries, passed, top)
    assert len(found) == len(queries)
    for query, one in zip(queries, found, strict=True):
        scores = dots(rows, query)
        expected = [row for row in np.argsort(-scores, kind="stable") if passed[row] and np.isfinite(scores[row])][:top]
        assert one.items.tolist() == expected
        assert one.scores.tolist() == scores[expected].tolist()


@settings(max_examples=40)
@given(case=cases(), top=st.integers(1, 9), dtype=st.sampled_from([np.float32, np.float16]))
def test_the_best_frame_of_each_item_counts(
    case: tuple[np.ndarray, np.ndarray, np.ndarray], top: int, dtype: type[np.generic]
) -> None:
    rows, queries, passed = case
    num_items = len(rows) // 3
    frames = (5 * rows[: 3 * num_items]).reshape(num_items, 3, rows.shape[1]).astype(dtype)
    norms = np.linalg.norm(frames.astype(np.float32), axis=-1)
    found = best(BestFrames(frames, norms), queries, passed[:num_items], top)
    for query, one in zip(queries, found, strict=True):
        scores = np.fmax.reduce(cosines(frames, query), axis=1)
        expected = [row for row in np.argsort(-scores, kind="stable") if passed[row] and np.isfinite(scores[row])][:top]
        assert one.items.tolist() == expected
        assert one.scores.tolist() == scores[expected].tolist()


def test_equal_vectors_tie_wherever_they_are_and_whatever_is_asked_with_them() -> None:
    rng = np.random.default_rng(0)
    rows = unit(rng.standard_normal((20_011, 67)).astype(np.float32))
    rows[[3, 8_191, 8_192, 16_384, 20_010]] = rows[0]
    queries = unit(rows[0] + 0.1 * rng.standard_normal((5, 67)).astype(np.float32))
    passed = np.ones(len(rows), np.bool_)
    together = best(Vectors(rows), queries, passed, 6)
    for query, one in zip(queries, together, strict=True):
        assert one.items.tolist() == [0, 3, 8_191, 8_192, 16_384, 20_010]
        assert len(set(one.scores.tolist())) == 1
        (alone,) = best(Vectors(rows), query[None], passed, 6)
        assert (alone.items.tolist(), alone.scores.tolist()) == (one.items.tolist(), one.scores.tolist())


class Rounded(Vectors):
    """Products that are off by nearly as much as rounding may be, the highest downwards and all others upwards."""

    def products(self, items: slice, queries: np.ndarray) -> np.ndarray:
        exact = Vectors.products(self, items, queries)
        off = np.float32(0.9 * scan.slack(self.dim))
        return np.where(exact == exact.max(), exact - off, exact + off)


def test_what_rounding_puts_behind_others_is_found_all_the_same() -> None:
    off = 0.9 * scan.slack(2)
    highest = np.array([0.9, 0.9 + 0.3 * off, 0.5, 0.9], np.float32)
    rows, query = np.stack([highest, np.sqrt(1 - highest**2)], axis=1), np.array([[1, 0]], np.float32)
    assert Rounded(rows).products(slice(4), query).argmax() != 1
    (found,) = best(Rounded(rows), query, np.ones(4, np.bool_), 1)
    assert found.items.tolist() == [1]


def test_the_slack_is_more_than_the_rounding_of_any_order() -> None:
    rng = np.random.default_rng(0)
    rows, query = unit(rng.standard_normal((3_000, 512)).astype(np.float32)), unit(np.ones(512, np.float32))
    exact = rows.astype(np.float64) @ query.astype(np.float64)
    one_by_one = np.zeros(len(rows), np.float32)
    for column in range(512):
        one_by_one += rows[:, column] * query[column]
    for rough in (one_by_one, rows @ query, (rows @ query[:, None])[:, 0]):
        assert np.abs(rough - exact).max() < scan.slack(512)
