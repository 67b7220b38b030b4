"""Slices as tables and as a figure."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from cli.output.slices import print_slices
from pipeline.evaluation.protocols import PROTOCOLS
from pipeline.evaluation.slices.families import slice_queries
from pipeline.evaluation.slices.figure import NothingToDrawError, draw_slices, slices_figure
from pipeline.evaluation.slices.scoring import FEW_VIDEOS, SliceScores, score_slices
from tests.sliced import Known, known_ranking, known_store

NUM_VIDEOS = 24


@pytest.fixture(scope="module")
def scores(tmp_path_factory: pytest.TempPathFactory) -> SliceScores:
    """Captions of motion find their videos, those of rest the one before: no video tells its caption from another."""
    moves = np.arange(NUM_VIDEOS) % 2 == 0
    known = [
        Known(
            ["a man runs" if one else "a man sits"], 0.1 + 0.01 * row if one else 0.0, category="c" * 50 if row else "a"
        )
        for row, one in enumerate(moves.tolist())
    ]
    video = np.eye(NUM_VIDEOS)
    text = np.where(moves[:, None], video, np.roll(video, 1, axis=0))
    store = known_store(tmp_path_factory.mktemp("known") / "store", known, video, text)
    ranking, _ = known_ranking(store)
    return score_slices(ranking, slice_queries(store, ranking, "test"), PROTOCOLS["fda"])


def test_tables(scores: SliceScores, capsys: pytest.CaptureFixture[str]) -> None:
    print_slices(scores)
    lines = capsys.readouterr().out.splitlines()
    rows = {line.split("  ")[1]: line.split() for line in lines if line.startswith("  ")}
    # All of 12 queries, each of its own video: as sure as 12 videos make one, and no surer.
    assert rows["a verb of motion"][4:8] == ["12", "100.0", "71.2-100.0", "100.0"]
    assert rows["a verb of rest"][4:7] == ["12", "0.0", "0.0-28.8"]
    assert rows["under 16%"][2:4] == ["3*", "100.0"]
    assert rows["under 16%"][4].endswith("-100.0")
    assert sum(line.startswith("  all queries ") for line in lines) == len(scores.telling) == 4
    assert "camera: all queries are in one slice, 'camera stands still'" in lines
    assert (
        lines[-4]
        == "R@1 of static objects minus that of all others, in points: text to video -100.0, video to text +0.0"
    )
    assert lines[-1] == "* queries of fewer than 10 videos"
    assert lines[-3] == "intervals are those of R@1, 95%"


def test_a_figure_has_a_panel_a_family(scores: SliceScores) -> None:
    figure = slices_figure(scores, "mine on test")
    assert len(figure.axes) == len(scores.telling) == 4
    titles = {axes.get_title(loc="left").split(":")[0]: axes for axes in figure.axes}
    assert set(titles) == {"motion", "caption", "static", "category"}
    caption = titles["caption"]
    assert [label.get_text() for label in caption.get_yticklabels()] == ["a verb of motion", "a verb of rest"]
    widths = [bar.get_width() for bars in caption.containers for bar in bars]
    assert sorted(widths) == [0.0, 0.0, 0.0, 100.0]
    assert "100.0  (n 12)" in [text.get_text() for text in caption.texts]
    longest = max(len(label.get_text()) for label in titles["category"].get_yticklabels())
    assert longest == 30


def test_numbers_stand_beside_the_bars_and_mark_few_queries(scores: SliceScores) -> None:
    """Whatever the length of a bar: 0 shows no hatching."""
    figure = slices_figure(scores, "mine on test")
    figure.draw_without_rendering()
    for axes in figure.axes:
        right = axes.get_window_extent().x1
        assert axes.texts
        for text in axes.texts:
            assert text.get_window_extent().x0 > right
            if found := re.search(r"n (\d+)(\*?)", text.get_text()):
                assert (int(found[1]) < FEW_VIDEOS) == bool(found[2])
    widths = [bar.get_width() for axes in figure.axes for bars in axes.containers for bar in bars]
    assert 0.0 in widths


def test_nothing_leaves_the_figure(scores: SliceScores) -> None:
    figure = slices_figure(scores, "mine on test")
    figure.draw_without_rendering()
    for axes in figure.axes:
        for text in (*axes.texts, axes.title, *axes.get_yticklabels()):
            assert text.get_window_extent().x1 <= figure.bbox.x1


def test_a_dollar_in_a_label_is_no_formula(scores: SliceScores, tmp_path: Path) -> None:
    (first, *others) = scores.telling
    dear = replace(first.slices[0], label=r"from $5_{ to \frac$")
    family = replace(first, summary=r"by $price_{$", slices=(dear, *first.slices[1:]))
    draw_slices(replace(scores, families=(family, *others)), tmp_path / "slices.svg", r"mine $x_{$ on test")
    assert ElementTree.parse(tmp_path / "slices.svg").getroot() is not None


def test_where_no_family_divides_the_queries_there_is_no_figure(scores: SliceScores, tmp_path: Path) -> None:
    alone = tuple(family for family in scores.families if family not in scores.telling)
    with pytest.raises(NothingToDrawError, match="all queries are in one slice"):
        draw_slices(replace(scores, families=alone), tmp_path / "slices.png", "mine")
    assert not list(tmp_path.iterdir())


def test_figures_are_pictures(scores: SliceScores, tmp_path: Path) -> None:
    draw_slices(scores, tmp_path / "slices.png", "mine on test")
    with Image.open(tmp_path / "slices.png") as picture:
        assert picture.format == "PNG"
        assert min(picture.size) > 500
        assert len(np.unique(np.asarray(picture.convert("L")))) > 20  # something is drawn
    draw_slices(scores, tmp_path / "slices.SVG", "mine on test")
    assert ElementTree.parse(tmp_path / "slices.SVG").getroot().tag.endswith("svg")
