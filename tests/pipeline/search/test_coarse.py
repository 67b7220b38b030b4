"""Approximate search: how much of the exact answer it finds, and what it says without its library."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

import fda
from pipeline.errors import InputError, OptionError
from pipeline.search.coarse import Coarse
from pipeline.search.engine import SearchEngine
from pipeline.search.options import By, Find, Query, QueryKind, SearchOptions
from pipeline.search.scan import Vectors, best
from store.open_features import OpenFeatures
from tests.searching import random_frames, searchable, unit

APPROXIMATE = SearchOptions(approximate=True, top=5)
VIDEO = Query("-vidéo_0", QueryKind.VIDEO)


def test_the_recall_at_ten_is_at_least_999_in_a_thousand() -> None:
    pytest.importorskip("usearch")
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((300, 64)).astype(np.float32)
    rows = unit(centres[rng.integers(0, 300, 20_000)] + 0.6 * rng.standard_normal((20_000, 64)).astype(np.float32))
    queries = unit(rows[:100] + 0.05 * rng.standard_normal((100, 64)).astype(np.float32))
    coarse, passed = Coarse.of([(0, rows[:9_000]), (9_000, rows[9_000:])], len(rows), 64), np.ones(len(rows), np.bool_)
    exact = best(Vectors(rows), queries, passed, 10)
    found = [coarse.likeliest(query, passed, 10) for query in queries]
    recall = np.mean([np.isin(one.items, places).mean() for one, places in zip(exact, found, strict=True)])
    assert recall >= 0.999
    passed = rng.random(len(rows)) < 0.5
    for query, one in zip(queries, best(Vectors(rows), queries, passed, 10), strict=True):
        places = coarse.likeliest(query, passed, 10)
        assert passed[places].all()
        assert np.isin(one.items, places).mean() >= 0.9


def test_it_answers_as_the_exact_search_without_the_exact_vectors_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("usearch")
    store = searchable(tmp_path / "store", random_frames(11), failed=frozenset({1, 6}))
    options = SearchOptions(top=5)
    exact = SearchEngine.open([store.place]).search([VIDEO], options)
    asked: list[int] = []

    def shortlisted(top: int) -> int:
        asked.append(top)
        return top + 1

    monkeypatch.setattr(OpenFeatures, "video", None)
    monkeypatch.setattr("pipeline.search.coarse.shortlisted", shortlisted)  # of 9 videos, usearch chooses 7
    monkeypatch.setattr("pipeline.search.index.VIDEOS_COPIED", 4)
    engine = SearchEngine.open([store.place])
    (found,) = engine.search([VIDEO], APPROXIMATE)
    assert asked == [6, 6]  # one more than wanted, for the video itself; the second time by usearch
    assert found.num_candidates == 8
    assert [(hit.video_id, hit.score) for hit in found.hits] == [(hit.video_id, hit.score) for hit in exact[0].hits]
    monkeypatch.undo()
    assert engine.search([VIDEO], options) == exact  # exact vectors come later, at the same positions


def test_without_its_library_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "usearch.index", None)
    store = searchable(tmp_path / "store", random_frames(3))
    with pytest.raises(InputError, match=r"needs usearch .* pip install -e '\.\[usearch\]' .*, or search exactly"):
        fda.search(store.place, VIDEO, APPROXIMATE)


@pytest.mark.parametrize("fields", [{"by": By.FRAME}, {"find": Find.CAPTIONS}])
def test_frames_and_captions_are_searched_exactly(fields: dict[str, object]) -> None:
    with pytest.raises(OptionError, match="search captions and frames exactly"):
        SearchOptions(approximate=True, **fields)  # type: ignore[arg-type]
